# The machine goes down.
# shellcheck shell=bash

# The last of this boot: the machine is switched off while a cutover is under way, whose create takes longer than systemd would wait.
scene_the_machine_goes_down_in_the_middle_of_a_cutover() {
    printf '[Service]\nTimeoutStopSec=1s\n' >/etc/systemd/system/rekeyd.service.d/test.conf
    systemctl daemon-reload
    order /fault '{"service": "mobivate", "call": "create", "fault": {"delay": {"ms": 4000}}}'
    rekeyd rotate campaign-sms --now
    is_created() { [[ $(key campaign-sms .phase) == create ]]; }
    until_true is_created
    cp /srv/billing/campaign.key /srv/out/campaign.key.before
    sleep 0.5
}
