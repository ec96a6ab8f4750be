#!/usr/bin/env bash
# Starts Open vSwitch where none runs; one that runs is left as it is.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/sbin:/usr/share/openvswitch/scripts"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo env "PATH=$PATH")

# Both daemons have to answer: a database without a switch looks alive to ovs-vsctl.
runs() {
    "${as_root[@]}" ovs-vsctl --timeout=5 --no-wait show > /dev/null 2>&1 \
        && "${as_root[@]}" ovs-appctl --timeout=5 -t ovs-vswitchd version > /dev/null 2>&1
}

! runs || exit 0
echo "Starting Open vSwitch"

if [ -d /run/systemd/system ]; then
    # Fails where the kernel has no openvswitch module; then the daemons are started by hand below.
    "${as_root[@]}" systemctl start openvswitch-switch || true
    ! runs || exit 0
fi

# ovs-ctl insists on the kernel module only when it starts the switch; the database it starts anywhere.
"${as_root[@]}" ovs-ctl --no-ovs-vswitchd --no-record-hostname --system-id=random start
# Userspace datapaths (datapath_type=netdev) are all that is used here, so no module is needed.
if ! "${as_root[@]}" ovs-appctl --timeout=5 -t ovs-vswitchd version > /dev/null 2>&1; then
    "${as_root[@]}" ovs-vswitchd unix:/var/run/openvswitch/db.sock \
        --pidfile --detach --monitor --no-chdir --log-file -vconsole:emer -vsyslog:err -vfile:info
fi

runs || { echo "Open vSwitch did not start; see /var/log/openvswitch." >&2; exit 1; }
