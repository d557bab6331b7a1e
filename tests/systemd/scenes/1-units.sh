# Other units fetch their keys when they start, and are restarted when there is a new one.
# shellcheck shell=bash

# What a consumer was started with lies in /run/UNIT.key, and each of its starts in /run/UNIT.starts.
consumer() {
    cat >"/etc/systemd/system/$1" <<EOF
[Unit]
Wants=rekeyd-credential.socket
After=rekeyd-credential.socket
[Service]
LoadCredential=$2:/run/rekeyd-credential.sock
ExecStart=/bin/bash -c 'cp \${CREDENTIALS_DIRECTORY}/$2 /run/%n.key; echo >>/run/%n.starts; exec sleep infinity'
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
    rm /etc/systemd/system/rekeyd.service.d/delivery.conf
    rekeyd check --unit >/etc/systemd/system/rekeyd.service.d/50-config.conf
    install -d /etc/polkit-1/rules.d
    rekeyd check --unit | sed -n 's/^#| \{0,1\}//p' >/etc/polkit-1/rules.d/50-rekeyd.rules
    consumer shop.service billing-sms
    consumer bills@.service billing-sms
    consumer other.service billing-sms
    consumer early.service unadopted-sms
    same "$(systemd-analyze verify --man=no rekeyd.service 2>&1 | grep rekeyd || true)" ""
    systemctl restart rekeyd
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
    journal_has "add other.service to"
}

scene_the_consumer_of_an_unadopted_key_does_not_start_with_nothing() {
    fails_for_want_of_a_credential early.service
    journal_has "the key is not adopted yet"
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
    journal_has "only root may fetch keys"
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

scene_the_service_may_do_nothing_else() {
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

# The next boot finds a config that is broken.
scene_the_config_is_broken_on_disk() {
    systemctl stop bills@eu.service
    printf '\n[keys.broken]\nprovider = "nobody"\n' >>/etc/rekeyd/rekeyd.toml
}
