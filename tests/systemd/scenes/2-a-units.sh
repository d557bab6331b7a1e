# The machine came up with a config that is broken.
# shellcheck shell=bash

scene_with_a_broken_config_consumers_start_at_boot() {
    until_true is_active rekeyd
    until_true journal_has "started with the last good config"
    until_true is_active shop.service
    started() { [[ $(cat /run/shop.service.key) == "$(cat /srv/billing/sms.key)" ]]; }
    until_true started
    sed -i '/^\[keys.broken\]/,$d' /etc/rekeyd/rekeyd.toml
    systemctl reload rekeyd
}
