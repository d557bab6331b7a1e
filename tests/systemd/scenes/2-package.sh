# After the machine was switched off in mid-rotation; then the package is upgraded, removed, put back and purged.
# shellcheck shell=bash

scene_the_shutdown_waited_for_the_cutover() {
    local last
    journalctl --no-pager -b -1 -u rekeyd -o cat >/run/last-boot
    tail -n 20 /run/last-boot
    fails 1 grep -q "State 'stop-sigterm' timed out" /run/last-boot
    grep -qx "stopped" /run/last-boot
    # What the service held for the key when the machine went down, the consumer's file holds too, or the state knows it.
    last=$(jq -r '[.keys[] | select(.service == "mobivate")] | last | .secret' /srv/out/truth.json)
    [[ $last != "$(cat /srv/out/campaign.key.before)" ]]
    until_true is_active rekeyd
    delivered() { [[ $(cat /srv/billing/campaign.key) == "$last" ]]; }
    until_true delivered
}

scene_an_upgrade_keeps_the_state_and_runs_the_new_version() {
    local pid version
    pid=$(property rekeyd MainPID)
    version=$(key billing-sms .current.version)
    dpkg -i /srv/test/newer.deb
    same "$(dpkg-query -W -f '${Version}' rekeyd)" 0.1.1~test
    is_active rekeyd
    [[ $(property rekeyd MainPID) != "$pid" ]]
    same "$(systemctl is-enabled rekeyd)" enabled
    same "$(key billing-sms .current.version)" "$version"
}

scene_a_removal_that_fails_leaves_the_service_running() {
    local backups=/var/backups/rekeyd
    mv $backups $backups.aside
    touch $backups
    fails dpkg -r rekeyd
    rm $backups
    mv $backups.aside $backups
    until_true is_active rekeyd
    is_active rekeyd-credential.socket
    same "$(dpkg-query -W -f '${db:Status-Status}' rekeyd)" installed
}

scene_a_removed_package_leaves_the_state_and_a_snapshot() {
    dpkg -r rekeyd
    fails is_active rekeyd
    [[ -d /var/lib/rekeyd/sled && -e /etc/rekeyd/rekeyd.toml ]]
    [[ -s $(cat /var/lib/rekeyd/removed) ]]
}

scene_put_back_it_goes_on_where_it_was() {
    dpkg -i /srv/test/rekeyd.deb
    [[ ! -e /var/lib/rekeyd/removed ]]
    systemctl start rekeyd
    until_true is_active rekeyd
    [[ $(key billing-sms .current.version) -gt 3 ]]
}

scene_a_purge_leaves_the_last_sealed_snapshot_and_says_so() {
    dpkg -P rekeyd 2>&1 | tee /run/purge.log
    [[ ! -e /var/lib/rekeyd ]]
    local kept
    kept=$(sed -n 's/.*last sealed snapshot of its state is kept as //p' /run/purge.log)
    [[ $kept == /var/backups/rekeyd/*.backup && -s $kept ]]
    same "$(stat -c %U:%a "$(dirname "$kept")")" root:700
    # It opens with the master key that was left.
    export CREDENTIALS_DIRECTORY=/run/credentials.test
    install -d -m 0700 "$CREDENTIALS_DIRECTORY"
    cp /etc/credstore/rekeyd.master-key "$CREDENTIALS_DIRECTORY/master-key"
    /srv/test/rekeyd check --state "$kept"
}

# A package that was put back after a purge, with a state of its own, whose service is stopped before the package goes.
purge_it_stopped() {
    dpkg -i /srv/test/rekeyd.deb
    systemctl start rekeyd
    until_true is_active rekeyd
    systemctl stop rekeyd-credential.socket rekeyd
    "$@"
    dpkg -P rekeyd 2>&1 | tee /run/purge.log
    [[ ! -e /var/lib/rekeyd ]]
}

scene_a_purge_of_a_stopped_service_keeps_all_that_it_held() {
    purge_it_stopped true
    local kept
    kept=$(sed -n 's/.*last sealed snapshot of its state is kept as //p' /run/purge.log)
    [[ $kept == /var/backups/rekeyd/*.backup && -s $kept ]]
    # The unit's credential was there for it, though the service was not.
    CREDENTIALS_DIRECTORY=/run/credentials.test /srv/test/rekeyd check --state "$kept"
}

scene_a_purge_without_the_master_key_keeps_the_state_itself_and_says_so() {
    hide_master_key() { mv /etc/credstore/rekeyd.master-key /etc/credstore/hidden; }
    purge_it_stopped hide_master_key
    mv /etc/credstore/hidden /etc/credstore/rekeyd.master-key
    grep -q "NO snapshot" /run/purge.log
    fails 1 grep -q "last sealed snapshot" /run/purge.log
    local kept
    kept=$(sed -n 's/.*the state itself is kept as //p' /run/purge.log)
    [[ -d $kept/sled && ! -e $kept/removed ]]
}

# As `rekeyd init` writes it, [backup] makes them every night.
scene_a_purge_keeps_the_backups_beside_the_snapshot_and_not_the_state() {
    a_backup() {
        install -d -m 0700 -o rekeyd /var/lib/rekeyd/backups
        touch /var/lib/rekeyd/backups/nightly.backup
        before=$(find /var/backups/rekeyd -name 'state-*' | wc -l)
    }
    local before
    purge_it_stopped a_backup
    grep -q "backups that it made are kept in /var/backups/rekeyd" /run/purge.log
    [[ -s $(sed -n 's/.*last sealed snapshot of its state is kept as //p' /run/purge.log) ]]
    same "$(stat -c %U /var/backups/rekeyd/nightly.backup)" root
    same "$(find /var/backups/rekeyd -name 'state-*' | wc -l)" "$before"
}

scene_a_purge_keeps_all_of_a_folder_that_holds_more_than_a_snapshot() {
    more_in_the_folder() {
        install -d -m 0700 /var/lib/rekeyd/backups /var/lib/rekeyd/sled.damaged
        touch /var/lib/rekeyd/backups/notes /var/lib/rekeyd/sled.damaged/db /var/lib/rekeyd/master.key
    }
    purge_it_stopped more_in_the_folder
    grep -q "more than a snapshot does: backups master.key sled.damaged" /run/purge.log
    local kept
    kept=$(sed -n 's/.*the state itself is kept as //p' /run/purge.log)
    [[ -e $kept/sled/db && -e $kept/backups/notes && -e $kept/sled.damaged/db && -e $kept/master.key ]]
    [[ -s $(sed -n 's/.*the last sealed snapshot is kept as well: //p' /run/purge.log) ]]
}

scene_a_state_that_was_used_after_the_removal_is_kept_whole() {
    dpkg -i /srv/test/rekeyd.deb
    systemctl start rekeyd
    until_true is_active rekeyd
    dpkg -r rekeyd
    [[ -s $(cat /var/lib/rekeyd/removed) ]]
    touch /var/lib/rekeyd/sled/db
    dpkg -P rekeyd 2>&1 | tee /run/purge.log
    [[ -d $(sed -n 's/.*the state itself is kept as //p' /run/purge.log)/sled ]]
}
