# The service from its installation to a shutdown in mid-rotation.
# shellcheck shell=bash

scene_the_package_installs_and_starts_nothing() {
    dpkg -i /srv/test/rekeyd.deb
    same "$(systemctl is-enabled rekeyd || true)" disabled
    fails is_active rekeyd
    same "$(stat -c %U:%G:%a /etc/rekeyd)" rekeyd:rekeyd:750
    same "$(getent passwd rekeyd | cut -d: -f6,7)" /var/lib/rekeyd:/usr/sbin/nologin
    for file in man/man1/rekeyd.1.gz man/man1/rekeyd-rotate.1.gz man/man5/rekeyd.toml.5.gz doc/rekeyd/examples/delivery.conf; do
        [[ -s /usr/share/$file ]]
    done
    bash -n /usr/share/bash-completion/completions/rekeyd
    # A config would make `init` refuse.
    [[ ! -e /etc/rekeyd/rekeyd.toml ]]
}

scene_without_a_config_there_is_nothing_to_start_and_nothing_failed() {
    systemctl start rekeyd
    same "$(property rekeyd ConditionResult)" no
    fails systemctl is-failed rekeyd
}

scene_systemd_finds_nothing_wrong_with_the_unit() {
    local version
    same "$(systemd-analyze verify --man=no rekeyd.service rekeyd-credential.socket 2>&1 | grep rekeyd || true)" ""
    version=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
    if ((version < 254)); then
        same "$(property rekeyd RestartUSec)" 5s
    else
        same "$(property rekeyd RestartSteps) $(property rekeyd RestartMaxDelayUSec)" "6 2min"
    fi
}

scene_the_sandbox_is_as_tight_as_it_is_said_to_be() {
    systemd-analyze security --no-pager rekeyd | tail -1
    systemd-analyze security --no-pager --threshold=13 rekeyd >/dev/null
    mkdir -p /etc/systemd/system/rekeyd.service.d
    groupadd --system billing
    useradd --system --no-create-home billing -g billing
    sed 's|/etc/billing|/srv/billing|' /srv/test/systemd/rekeyd.service.d/delivery.conf.example >/etc/systemd/system/rekeyd.service.d/delivery.conf
    install -d -o rekeyd -g billing -m 0750 /srv/billing
    systemctl daemon-reload
    systemd-analyze security --no-pager rekeyd | tail -1
    systemd-analyze security --no-pager --threshold=18 rekeyd >/dev/null
}

scene_the_simulator_runs_in_another_unit() {
    cat >/etc/systemd/system/simulator.service <<'EOF'
[Unit]
Before=rekeyd.service
[Service]
RuntimeDirectory=simulator
ExecStart=/srv/test/simulator /run/simulator/services.json
ExecStop=/bin/bash -c '. /srv/test/inside/lib; simulator /truth >/srv/out/truth.json'
[Install]
WantedBy=multi-user.target
EOF
    systemctl daemon-reload
    systemctl start simulator
    until_true test -s /run/simulator/services.json
}

# A config with a key at two services, each delivered to a file.
write_config() {
    local of='.services["infobip"]' mob='.services["mobivate"]' file=/run/simulator/services.json
    for secret in infobip mobivate; do
        jq -j ".services[\"$secret\"].password" $file | install -m 0600 -o rekeyd /dev/stdin /etc/rekeyd/$secret-password
    done
    jq -j .hook.secret $file | install -m 0600 -o rekeyd /dev/stdin /etc/rekeyd/hook-secret
    cat >/etc/rekeyd/rekeyd.toml <<EOF
[daemon]
master_key = { credential = "master-key" }
owners = ["payments"]
operators = ["anna"]
sweep = "* * * * * *"

[owners.payments]
webhook = [{ url = "$(jq -r .hook.url $file)", secret = { file = "/etc/rekeyd/hook-secret" } }]

[providers.sms]
kind = "infobip"
base_url = "$(jq -r "$of.url" $file)"
username = "$(jq -r "$of.username" $file)"
password = { file = "/etc/rekeyd/infobip-password" }
creates_per_day = 1000
accept_within = "5s"
settle = "1s"

[providers.campaigns]
kind = "mobivate"
base_url = "$(jq -r "$mob.url" $file)"
username = "$(jq -r "$mob.username" $file)"
password = { file = "/etc/rekeyd/mobivate-password" }
creates_per_day = 1000
settle = "1s"

[keys.billing-sms]
provider = "sms"
owners = ["payments"]
initial = "create"
valid_for = "90d"
rotate_before = "14d"
overlap = "1s"
create = { name = "billing" }

[[keys.billing-sms.deliver]]
kind = "file"
path = "/srv/billing/sms.key"
mode = "0640"
owner = "billing"
group = "billing"

[[keys.billing-sms.deliver]]
kind = "exec"
command = ["/usr/local/bin/put-in-vault", "billing"]

[keys.campaign-sms]
provider = "campaigns"
owners = ["payments"]
initial = "create"
valid_for = "90d"
rotate_before = "14d"
announce = "1s"

[[keys.campaign-sms.deliver]]
kind = "file"
path = "/srv/billing/campaign.key"
EOF
}

scene_enable_now_with_the_master_key_as_a_credential() {
    cat >/usr/local/bin/put-in-vault <<'EOF'
#!/bin/sh
cat >/srv/billing/vault
EOF
    chmod +x /usr/local/bin/put-in-vault
    runuser -u rekeyd -- rekeyd init
    same "$(stat -c %U:%a /etc/rekeyd/master.key)" rekeyd:600
    install -d -m 0700 /etc/credstore
    mv /etc/rekeyd/master.key /etc/credstore/rekeyd.master-key
    chown root: /etc/credstore/rekeyd.master-key
    write_config
    runuser -u rekeyd -- rekeyd check
    systemctl enable --now rekeyd-credential.socket rekeyd
    is_active rekeyd
    until_true has_version billing-sms 1
    until_true has_version campaign-sms 1
    same "$(live_keys infobip)" "$(cat /srv/billing/sms.key)"
    same "$(live_keys mobivate)" "$(cat /srv/billing/campaign.key)"
}

scene_the_master_key_may_be_encrypted_for_this_machine() {
    install -d -m 0700 /etc/credstore.encrypted
    systemd-creds encrypt --with-key=host --name=master-key /etc/credstore/rekeyd.master-key /etc/credstore.encrypted/rekeyd.master-key.cred
    printf '[Service]\nLoadCredentialEncrypted=master-key:/etc/credstore.encrypted/rekeyd.master-key.cred\n' >/etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    systemctl restart rekeyd
    same "$(key billing-sms .phase)" steady
    rm /etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    systemctl restart rekeyd
}

scene_systemctl_status_says_how_it_stands() {
    status_line() {
        property rekeyd StatusText | grep -qx "2 keys, next rotation [a-z]*-sms in 76 days"
    }
    until_true status_line
}

scene_a_delivered_file_has_its_owner_its_group_and_its_mode() {
    same "$(stat -c %U:%G:%a /srv/billing/sms.key)" billing:billing:640
    same "$(stat -c %U:%G:%a /srv/billing/campaign.key)" rekeyd:rekeyd:640
}

scene_the_process_has_given_up_what_it_does_not_need() {
    local pid
    pid=$(property rekeyd MainPID)
    grep -qx "NoNewPrivs:.1" "/proc/$pid/status"
    grep -qx "CapEff:.0000000000000001" "/proc/$pid/status"
    grep -qx "Umask:.0077" "/proc/$pid/status"
    grep -q "^Max core file size  *0  *0 " "/proc/$pid/limits"
    # Nothing of it is swapped out, where the limit could be raised,
    if grep -q "^Max locked memory  *unlimited" "/proc/$pid/limits"; then
        (($(sed -n 's/^VmLck:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status") > 1024))
    else
        echo "this host does not let its systemd raise the limit of locked memory"
    fi
    # and nobody but root looks into it, its own user included.
    same "$(stat -c %U "/proc/$pid/environ")" root
    fails runuser -u rekeyd -- cat "/proc/$pid/environ"
}

scene_a_rotation() {
    local old
    old=$(cat /srv/billing/sms.key)
    rekeyd rotate billing-sms --now --wait
    [[ $(cat /srv/billing/sms.key) != "$old" ]]
    same "$(cat /srv/billing/vault)" "$(cat /srv/billing/sms.key)"
    old_is_gone() { [[ $(live_keys infobip) == "$(cat /srv/billing/sms.key)" ]]; }
    until_true old_is_gone
}

scene_the_journal_tells_the_story_of_one_key() {
    local found
    found=$(journalctl -b REKEYD_KEY_NAME=billing-sms -o json --no-pager)
    for phase in create verify deliver steady; do
        grep -q "\"REKEYD_PHASE\":\"$phase\"" <<<"$found"
    done
    fails grep -q campaign-sms <<<"$found"
    local moved
    moved=$(jq -r 'select(.REKEYD_PHASE == "create") | .MESSAGE_ID' <<<"$found" | sort -u)
    same "$(journalctl -b "MESSAGE_ID=$moved" REKEYD_KEY_NAME=billing-sms -o json --no-pager | jq -r .PRIORITY | sort -u)" 6
    journalctl -b "MESSAGE_ID=$moved" -x --no-pager | grep -q "The key billing-sms has gone from steady to create"
}

scene_no_secret_is_in_the_journal() {
    journalctl --no-pager -o export >/run/journal.export
    simulator /truth | jq -r '.keys[].secret' >/run/secrets
    cat /etc/credstore/rekeyd.master-key /etc/rekeyd/*-password /etc/rekeyd/hook-secret <(echo) >>/run/secrets
    sed -i '/^$/d' /run/secrets
    (($(wc -l </run/secrets) > 5))
    fails 1 grep -aqFf /run/secrets /run/journal.export
}

scene_the_history_knows_who_logged_in() {
    useradd --create-home anna
    usermod -aG rekeyd anna
    local uid group
    uid=$(id -u anna)
    group=/sys/fs/cgroup/user.slice/user-$uid.slice/session-7.scope
    mkdir -p "$group"
    # As after a `sudo` in anna's session.
    bash -c 'echo $$ >"$0/cgroup.procs"; exec rekeyd pause billing-sms --reason "sudo"' "$group"
    runuser -u anna -- rekeyd resume billing-sms --reason "alone"
    local said
    said=$(rekeyd history billing-sms --json | jq -c '[.commands[] | select(.reason_given == "sudo" or .reason_given == "alone") | [.actor.uid, .actor.login_uid, .actor.user]]')
    same "$said" "[[0,$uid,\"anna\"],[$uid,null,\"anna\"]]"
    fails 77 runuser -u anna -- rekeyd reveal billing-sms
}

scene_a_good_config_is_reloaded() {
    sed -i 's/^valid_for = "90d"/valid_for = "60d"/' /etc/rekeyd/rekeyd.toml
    systemctl reload rekeyd
    is_active rekeyd
    until_true journal_has "the new config is in use"
}

scene_a_broken_config_is_a_reload_that_fails() {
    printf '\n[keys.broken]\nprovider = "nobody"\n' >>/etc/rekeyd/rekeyd.toml
    fails systemctl reload rekeyd
    is_active rekeyd
    same "$(property rekeyd Result)" success
    same "$(key billing-sms .phase)" steady
    broken() { property rekeyd StatusText | grep -q "the config on disk has faults"; }
    until_true broken
}

scene_a_start_with_a_broken_config_serves_and_begins_no_rotation() {
    systemctl restart rekeyd
    is_active rekeyd
    until_true journal_has "started with the last good config"
    rekeyd rotate billing-sms --now
    sleep 2
    same "$(key billing-sms .blocked.reason)" config
    sed -i '/^\[keys.broken\]/,$d' /etc/rekeyd/rekeyd.toml
    systemctl reload rekeyd
    until_true has_version billing-sms 3
}

scene_consumers_never_see_a_dead_key_while_the_service_stops_and_starts() {
    cat >/usr/local/bin/consumer <<'EOF'
#!/bin/bash
. /srv/test/inside/lib
url=$(jq -r '.services["infobip"].url' /run/simulator/services.json)/account/1/balance
while sleep 0.05; do
    held=$(cat /srv/billing/sms.key)
    code=$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: App $held" "$url")
    # What it held may have been replaced, and retired, between its look and its call.
    [[ $code != 401 || $(cat /srv/billing/sms.key) == "$held" ]] || continue
    echo "$code" >>/run/consumer.log
done
EOF
    chmod +x /usr/local/bin/consumer
    systemd-run --unit=consumer /usr/local/bin/consumer
    for _ in 1 2 3; do
        rekeyd rotate billing-sms --now
        systemctl restart rekeyd
    done
    systemctl stop rekeyd
    systemctl start rekeyd
    # Whoever asked for the next one while one was under way was answered by that.
    renewed() { [[ $(key billing-sms '"\(.current.version > 3) \(.phase)"') == "true steady" ]]; }
    until_true renewed
    asked_often() { [[ $(wc -l </run/consumer.log) -gt 10 ]]; }
    until_true asked_often
    systemctl stop consumer
    same "$(sort -u /run/consumer.log)" 200
}

scene_kill_9_in_mid_rotation_loses_no_key() {
    local before restarts
    before=$(key billing-sms .current.version)
    restarts=$(property rekeyd NRestarts)
    order /fault '{"service": "infobip", "call": "create", "fault": {"delay": {"ms": 1500}}}'
    rekeyd rotate billing-sms --now
    sleep 0.7
    systemctl kill --kill-whom=main --signal=KILL rekeyd
    came_back() { is_active rekeyd && (($(property rekeyd NRestarts) > restarts)); }
    until_true came_back
    until_true has_version billing-sms $((before + 1))
    all_known() { [[ $(live_keys infobip) == "$(cat /srv/billing/sms.key)" ]]; }
    until_true all_known
}

scene_a_hang_is_caught_by_the_watchdog() {
    printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\nRestartSec=1s\n' >/etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    systemctl restart rekeyd
    local pid restarts
    pid=$(property rekeyd MainPID)
    restarts=$(property rekeyd NRestarts)
    # It outlives its watchdog as long as the engine turns.
    sleep 3
    same "$(property rekeyd MainPID)" "$pid"
    kill -STOP "$pid"
    came_back() { is_active rekeyd && (($(property rekeyd NRestarts) > restarts)); }
    until_true came_back
    until_true journal_has "Watchdog timeout"
    until_true has_version billing-sms "$(rekeyd status --json | jq -r '.keys[] | select(.name == "billing-sms") | .current.version')"
    rm /etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
}

scene_a_crash_leaves_no_core() {
    local pid
    pid=$(property rekeyd MainPID)
    # Not SEGV: a sent one is taken for a false alarm by the runtime's look-out for stack overflows.
    kill -QUIT "$pid"
    came_back() { is_active rekeyd && [[ $(property rekeyd MainPID) != "$pid" ]]; }
    until_true came_back
    same "$(find /var/lib/rekeyd /var/lib/systemd/coredump -type f -name 'core*' 2>/dev/null)" ""
    until_true journal_has "code=killed, status=3/QUIT"
}

scene_what_no_restart_mends_is_not_restarted() {
    restarts() { journalctl -b --no-pager -u rekeyd | grep -c "Scheduled restart job"; }
    systemctl stop rekeyd
    local before
    before=$(restarts)
    mv /etc/credstore/rekeyd.master-key /etc/credstore/kept
    head -c 32 /dev/urandom >/etc/credstore/rekeyd.master-key
    fails systemctl start rekeyd
    sleep 6
    same "$(property rekeyd ExecMainStatus)" 78
    same "$(property rekeyd ActiveState)" failed
    same "$(restarts)" "$before"
    mv /etc/credstore/kept /etc/credstore/rekeyd.master-key
    systemctl reset-failed rekeyd
    systemctl start rekeyd
}
