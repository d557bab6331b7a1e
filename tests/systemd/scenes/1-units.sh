# Other units fetch their keys when they start, and are restarted when there is a new one.
# shellcheck shell=bash

# What a consumer was started with lies in /run/UNIT.key, and each of its starts, this one included, in /run/UNIT.starts.
consumer() {
    cat >"/etc/systemd/system/$1" <<EOF
[Unit]
Wants=rekeyd-credential.socket
After=rekeyd-credential.socket
[Service]
LoadCredential=$2:/run/rekeyd-credential.sock
ExecStart=/bin/bash -c 'test -s \${CREDENTIALS_DIRECTORY}/$2 || exit 1; echo >>/run/%n.starts; cp \${CREDENTIALS_DIRECTORY}/$2 /run/%n.key; exec sleep infinity'
# By its place: systemd 257 does not tell a reload of the folder.
ExecReload=/bin/bash -c 'cp /run/credentials/%n/$2 /run/%n.reloaded'
[Install]
WantedBy=multi-user.target
EOF
    systemctl daemon-reload
}

# Whether a unit was started with a key, and not just now: systemd does not wait for the copy.
was_started_with() {
    [[ $(cat "/run/$1.key") == "$2" ]]
}

starts_with_the_key_in_use() {
    until_true was_started_with "$1" "$(cat /srv/billing/sms.key)"
}

# The unit does not start, for systemd got no credential for it.
fails_for_want_of_a_credential() {
    systemctl start "$1" || true
    failed() { same "$(property "$unit" ExecMainStatus) $(property "$unit" ActiveState)" "243 failed"; }
    local unit=$1
    until_true failed
    [[ ! -e /run/$1.key ]]
    systemctl reset-failed "$1"
}

scene_the_socket_is_roots_and_outlives_the_service() {
    is_active rekeyd-credential.socket
    same "$(stat -c %U:%a /run/rekeyd-credential.sock)" root:600
    systemctl restart rekeyd
    is_active rekeyd-credential.socket
}

scene_check_unit_prints_what_the_config_needs() {
    cat >>/etc/rekeyd/rekeyd.toml <<'EOF'

[[keys.billing-sms.deliver]]
kind = "credential"
units = ["shop.service", "bills@.service"]
then = { restart = ["shop.service"] }

[keys.unadopted-sms]
provider = "sms"
owners = ["payments"]
valid_for = "90d"
rotate_before = "14d"
create = { name = "unadopted" }

[[keys.unadopted-sms.deliver]]
kind = "credential"
units = ["early.service"]
EOF
    sed -i 's|^path = "/srv/billing/campaign.key"|&\nthen = { reload = ["web.service"] }|' /etc/rekeyd/rekeyd.toml
    rm -r /etc/systemd/system/rekeyd.service.d
    consumer shop.service billing-sms
    consumer bills@.service billing-sms
    consumer other.service billing-sms
    consumer early.service unadopted-sms
    cat >/etc/systemd/system/web.service <<'EOF'
[Service]
ExecStart=sleep infinity
ExecReload=cp /srv/billing/campaign.key /run/web.reloaded
EOF
    systemctl daemon-reload
    systemctl start web.service
    # What it says of its own installation, to the letter.
    rekeyd check --unit | sed -n 's/^#   //p' >/run/install
    (($(wc -l </run/install) == 5))
    bash -ex /run/install
    grep -q '"web.service"' /etc/polkit-1/rules.d/50-rekeyd.rules
    same "$(systemd-analyze verify --man=no rekeyd.service rekeyd-credential.socket 2>&1 | grep rekeyd || true)" ""
    until_true is_active rekeyd
    same "$(key billing-sms .phase)" steady
    systemd-analyze security --no-pager rekeyd | tail -1
    systemd-analyze security --no-pager --threshold=18 rekeyd >/dev/null
}

scene_a_unit_gets_its_key_from_the_socket() {
    systemctl enable --now shop.service
    starts_with_the_key_in_use shop.service
    systemctl start bills@eu.service
    starts_with_the_key_in_use bills@eu.service
    same "$(rekeyd history billing-sms --json | jq -c '[.reads[] | [.by, .via]]')" \
        '[["unit:shop.service","credential"],["unit:bills@eu.service","credential"]]'
}

scene_a_unit_that_is_not_listed_does_not_start() {
    fails_for_want_of_a_credential other.service
    until_true journal_has "add other.service to"
}

scene_the_consumer_of_an_unadopted_key_does_not_start_with_nothing() {
    fails_for_want_of_a_credential early.service
    until_true journal_has "the key is not adopted yet"
}

scene_a_spoofer_gets_nothing() {
    # As if somebody had opened the socket to everybody.
    chmod 0666 /run/rekeyd-credential.sock
    cat >/usr/local/bin/spoof <<'EOF'
import socket, sys
it = socket.socket(socket.AF_UNIX)
it.bind(b"\0" + b"0123456789abcdef/unit/shop.service/billing-sms")
it.connect("/run/rekeyd-credential.sock")
it.shutdown(socket.SHUT_WR)
while data := it.recv(65536):
    sys.stdout.buffer.write(data)
EOF
    runuser -u nobody -- python3 /usr/local/bin/spoof >/run/spoofed
    (($(wc -c </run/spoofed) > 1048576))
    fails 1 grep -qF "$(cat /srv/billing/sms.key)" /run/spoofed
    until_true journal_has "only root may fetch keys"
    chmod 0600 /run/rekeyd-credential.sock
}

scene_a_rotation_restarts_its_consumer_and_waits_for_every_unit() {
    local old before
    old=$(cat /srv/billing/sms.key)
    before=$(wc -l </run/shop.service.starts)
    rekeyd rotate billing-sms --now --wait
    starts_with_the_key_in_use shop.service
    same "$(wc -l </run/shop.service.starts)" $((before + 1))
    # The overlap of a second is over, and a unit goes on with the old key: reloading it changes nothing.
    sleep 3
    systemctl reload bills@eu.service
    same "$(cat /run/bills@eu.service.reloaded)" "$old"
    live_keys infobip | grep -xF "$old"
    systemctl restart bills@eu.service
    starts_with_the_key_in_use bills@eu.service
    old_is_gone() { fails 1 grep -qxF "$old" <<<"$(live_keys infobip)"; }
    until_true old_is_gone
}

scene_a_rotation_reloads_a_consumer_by_the_rule_of_polkit() {
    rekeyd rotate campaign-sms --now --wait
    reloaded() { same "$(cat /run/web.reloaded)" "$(cat /srv/billing/campaign.key)"; }
    until_true reloaded
}

scene_a_masked_unit_does_not_have_its_sibling_restarted_again() {
    local before starts
    before=$(key billing-sms .current.version)
    sed -i 's|^then = { restart = \["shop.service"\] }|then = { restart = ["shop.service", "masked.service"] }|' /etc/rekeyd/rekeyd.toml
    rekeyd check --unit | sed -n 's/^#| \{0,1\}//p' >/etc/polkit-1/rules.d/50-rekeyd.rules
    systemctl mask masked.service
    systemctl reload rekeyd
    starts=$(wc -l </run/shop.service.starts)
    rekeyd rotate billing-sms --now
    failed_at_it() { (($(journalctl -b --no-pager -u rekeyd -o cat | grep -c "masked.service is masked" || true) > $1)); }
    until_true failed_at_it 0
    rekeyd resume billing-sms
    until_true failed_at_it 1
    sed -i 's|, "masked.service"\] }|] }|' /etc/rekeyd/rekeyd.toml
    systemctl reload rekeyd
    rekeyd resume billing-sms
    at_the_next() { [[ $(key billing-sms .current.version) == $((before + 1)) ]]; }
    until_true at_the_next
    starts_with_the_key_in_use shop.service
    same "$(wc -l </run/shop.service.starts)" $((starts + 1))
    systemctl restart bills@eu.service
    until_true has_version billing-sms $((before + 1))
}

# A unit's block of the documentation, as somebody would copy it.
recipe() {
    awk -v "first=# /etc/systemd/system/$1" '$0 == "```" { on = 0 } on { print } $0 == first { on = 1 }' /usr/share/doc/rekeyd/docs/credentials.md | sed 's|/etc/billing|/srv/billing|'
}

scene_a_path_unit_restarts_a_consumer_without_any_privilege() {
    local unit before
    for unit in billing-key.path billing-key.service; do
        recipe "$unit" >"/etc/systemd/system/$unit"
        [[ -s /etc/systemd/system/$unit ]]
    done
    cat >/etc/systemd/system/billing.service <<'EOF'
[Service]
ExecStart=/bin/bash -c 'cp /srv/billing/sms.key /run/%n.key; exec sleep infinity'
EOF
    systemctl daemon-reload
    same "$(systemd-analyze verify --man=no billing-key.path 2>&1 | grep billing-key || true)" ""
    systemctl start billing.service
    starts_with_the_key_in_use billing.service
    systemctl enable --now billing-key.path
    before=$(key billing-sms .current.version)
    rekeyd rotate billing-sms --now
    at_the_next() { [[ $(key billing-sms .current.version) == $((before + 1)) ]]; }
    until_true at_the_next
    starts_with_the_key_in_use billing.service
    systemctl disable --now billing-key.path
    systemctl stop billing.service
    systemctl restart bills@eu.service
    until_true has_version billing-sms $((before + 1))
}

scene_silence_at_the_socket_starts_nobody_with_an_empty_key() {
    systemctl stop rekeyd-credential.socket rekeyd
    # As a daemon that is killed after it took a connection and before it answered.
    cat >/usr/local/bin/silence <<'EOF'
import socket
it = socket.socket(socket.AF_UNIX)
it.bind("/run/rekeyd-credential.sock")
it.listen()
while True:
    it.accept()[0].close()
EOF
    systemd-run --quiet --unit=silence python3 /usr/local/bin/silence
    until_true test -S /run/rekeyd-credential.sock
    # Its `Wants=` would bring the right socket back.
    sed -i '/^Wants=/d' /etc/systemd/system/shop.service
    systemctl daemon-reload
    systemctl stop shop.service
    rm -f /run/shop.service.key
    systemctl start shop.service || true
    gave_up() { same "$(property shop.service ExecMainStatus) $(property shop.service ActiveState)" "1 failed"; }
    until_true gave_up
    [[ ! -e /run/shop.service.key ]]
    systemctl stop silence
    rm -f /run/rekeyd-credential.sock
    consumer shop.service billing-sms
    systemctl start rekeyd-credential.socket rekeyd
    systemctl reset-failed shop.service
    systemctl start shop.service
    starts_with_the_key_in_use shop.service
}

scene_the_service_may_do_nothing_else() {
    fails runuser -u rekeyd -- systemctl --no-ask-password restart web.service
    runuser -u rekeyd -- systemctl --no-ask-password restart shop.service
    fails runuser -u rekeyd -- systemctl --no-ask-password stop shop.service
    fails runuser -u rekeyd -- systemctl --no-ask-password restart bills@eu.service
    fails runuser -u nobody -- systemctl --no-ask-password restart shop.service
}

scene_a_restart_that_fails_is_told_with_the_last_words_of_the_unit() {
    local before
    before=$(key billing-sms .current.version)
    mkdir -p /etc/systemd/system/shop.service.d
    printf '[Service]\nExecStartPre=/bin/sh -c "echo the shop is shut; exit 3"\n' >/etc/systemd/system/shop.service.d/shut.conf
    systemctl daemon-reload
    rekeyd rotate billing-sms --now
    told() { journal_has "shop.service said last: " && journal_has "the shop is shut"; }
    until_true told
    same "$(key billing-sms .current.version)" "$before"
    rm /etc/systemd/system/shop.service.d/shut.conf
    systemctl daemon-reload
    systemctl reset-failed shop.service
    rekeyd resume billing-sms
    until_true has_version billing-sms $((before + 1))
    starts_with_the_key_in_use shop.service
    systemctl restart bills@eu.service
}

scene_consumers_start_while_the_service_is_restarted() {
    for _ in 1 2 3; do
        systemctl restart --no-block rekeyd
        systemctl reset-failed shop.service
        systemctl restart shop.service
        starts_with_the_key_in_use shop.service
        until_true is_active rekeyd
    done
    # And while it is away altogether: the first one that asks starts it.
    systemctl stop rekeyd
    systemctl restart shop.service
    starts_with_the_key_in_use shop.service
    until_true is_active rekeyd
}

# How often the service was started in this boot.
starts_of_the_service() {
    journalctl --sync
    journalctl -b --no-pager -u rekeyd -o cat | grep -c "^Starting rekeyd.service" || true
}

# Two units that wait at the socket fail, each once and for want of a credential; the service ends with this code, and is started once for them, or
# twice where the second came late.
units_fail_and_the_service_is_left_alone() {
    local before starts unit
    systemctl stop rekeyd
    systemctl reset-failed rekeyd
    before=$(starts_of_the_service)
    systemctl stop shop.service bills@eu.service
    rm -f /run/shop.service.key
    systemctl start --no-block shop.service bills@eu.service
    gave_up() { same "$(property "$unit" ExecMainStatus) $(property "$unit" ActiveState)" "243 failed"; }
    for unit in shop.service bills@eu.service; do
        until_true gave_up
    done
    ended() { same "$(property rekeyd ExecMainStatus) $(property rekeyd ActiveState)" "$code failed"; }
    local code=$1
    until_true ended
    sleep 3
    starts=$(($(starts_of_the_service) - before))
    echo "$starts starts"
    ((starts == 1 || starts == 2))
    is_active rekeyd-credential.socket
    until_true journal_has "shop.service"
    systemctl reset-failed rekeyd shop.service bills@eu.service
}

scene_a_unit_that_waits_for_a_damaged_state_fails_and_starts_the_service_no_more() {
    systemctl stop rekeyd
    cp -a /var/lib/rekeyd/sled/conf /root/conf
    head -c 100 /dev/urandom >/var/lib/rekeyd/sled/conf
    units_fail_and_the_service_is_left_alone 74
    cp -a /root/conf /var/lib/rekeyd/sled/conf
    systemctl start shop.service
    starts_with_the_key_in_use shop.service
    until_true is_active rekeyd
}

scene_a_unit_that_waits_where_no_good_config_is_left_fails_and_starts_the_service_no_more() {
    systemctl stop rekeyd
    cp -a /etc/rekeyd/rekeyd.toml /root/rekeyd.toml
    mv /var/lib/rekeyd/config /root/config
    printf '\n[keys.broken]\nprovider = "nobody"\n' >>/etc/rekeyd/rekeyd.toml
    units_fail_and_the_service_is_left_alone 78
    # A line of the unit that makes no sense.
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/rekeyd run --no-such-option\n' >/etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    units_fail_and_the_service_is_left_alone 2
    rm /etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    cp -a /root/rekeyd.toml /etc/rekeyd/rekeyd.toml
    mv /root/config /var/lib/rekeyd/config
    systemctl start shop.service
    starts_with_the_key_in_use shop.service
    until_true is_active rekeyd
}

scene_a_unit_that_waits_does_not_hurry_the_restarts_of_a_failure_that_may_pass() {
    local before starts began
    systemctl stop shop.service
    systemctl stop rekeyd
    printf '[Service]\nExecStart=\nExecStart=/bin/sh -c "exit 75"\n' >/etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    before=$(starts_of_the_service)
    rm -f /run/shop.service.key
    began=$SECONDS
    systemctl start --no-block shop.service
    started_again() { (($(starts_of_the_service) - before > 1)); }
    until_true started_again
    sleep 3
    starts=$(($(starts_of_the_service) - before))
    echo "$starts starts within $((SECONDS - began)) s"
    # RestartSec=5s, and the seconds are whole ones.
    ((starts <= 1 + (SECONDS - began + 1) / 5))
    # It still waits, and gets its key as soon as there is somebody to give it.
    [[ ! -e /run/shop.service.key && $(property shop.service ActiveState) == act* ]]
    rm /etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    starts_with_the_key_in_use shop.service
    until_true is_active rekeyd
}

# The next boot finds a config that is broken.
scene_the_config_is_broken_on_disk() {
    systemctl stop bills@eu.service
    printf '\n[keys.broken]\nprovider = "nobody"\n' >>/etc/rekeyd/rekeyd.toml
}
