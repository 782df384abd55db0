//! A libvirtd that dies in the middle of a start. A libvirt hook kills it after QEMU has started
//! and before the guest runs. The restarted libvirtd shows the domain as paused (starting up), then
//! ends it. QEMU is frozen, so this lasts as long as the test needs.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use vsiflow_tests::{Lab, Vsi, Vsiflow, history::Event, lab::Deleted, until};

/// libvirt runs this hook at each change of a guest's state, as its own child.
const HOOK: &str = "/etc/libvirt/hooks/qemu";

/// Waits in the background until QEMU runs and libvirt has recorded it.
const SCRIPT: &str = r#"#!/bin/sh
[ "$2" = start ] && rm "ARMED" || exit 0
libvirtd=$PPID; state=/run/libvirt/qemu/$1
(
  until grep -q "starting up" "$state.xml" && qemu=$(cat "$state.pid") && grep -q qemu "/proc/$qemu/comm"
  do sleep 0.002; done
  kill -STOP "$qemu"
  kill -KILL "$libvirtd"
  while [ -e "FROZEN" ]; do sleep 0.1; done
  kill -CONT "$qemu"
) >/dev/null 2>&1 &
"#;

/// A hook that kills libvirtd once, at the next start of a guest.
struct StartTrap<'a> {
    lab: &'a Lab,
    armed: PathBuf,
    frozen: PathBuf,
}

impl<'a> StartTrap<'a> {
    fn set(lab: &'a Lab, vsiflow: &Vsiflow) -> Self {
        let [armed, frozen] = ["armed", "frozen"].map(|name| vsiflow.write(name, ""));
        let script = SCRIPT
            .replace("ARMED", &armed.display().to_string())
            .replace("FROZEN", &frozen.display().to_string());
        fs::create_dir_all("/etc/libvirt/hooks").unwrap();
        fs::write(HOOK, script).unwrap();
        fs::set_permissions(HOOK, fs::Permissions::from_mode(0o755)).unwrap();
        let trap = Self { lab, armed, frozen };
        trap.restart();
        trap
    }

    /// libvirtd looks for hooks only when it starts.
    fn restart(&self) {
        self.lab.daemon("libvirtd", "kill");
        self.lab.daemon("libvirtd", "start");
    }

    fn has_fired(&self) -> bool {
        !self.armed.exists()
    }

    fn thaw(&self) {
        let _ = fs::remove_file(&self.frozen);
    }
}

impl Drop for StartTrap<'_> {
    fn drop(&mut self) {
        self.thaw();
        let _ = fs::remove_file(HOOK);
        self.lab.daemon("libvirtd", "start");
        self.restart();
    }
}

#[test]
fn lab_a_libvirtd_that_dies_while_it_starts_a_guest_costs_nothing_but_time() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-start.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-start").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-start");
    let trap = StartTrap::set(&lab, &vsiflow);

    let running = vsiflow.start_apply(&documents, &["--wait"]);
    until("the start", 60, || trap.has_fired().then_some(()));
    let down = || (!lab.has_daemon("libvirtd")).then_some(());
    until("libvirtd's end", 20, down);
    lab.daemon("libvirtd", "start");
    let domain = lab.domains("default/t-start").pop().unwrap();
    let is_starting = || {
        let state = lab.virsh(&["domstate", "--reason", &domain]);
        state.contains("starting up")
    };
    until("the domain", 10, || is_starting().then_some(()));
    // Long enough for several scans by vsiflow.
    let looks = Instant::now() + Duration::from_secs(3);
    while Instant::now() < looks {
        assert!(is_starting());
        assert_eq!(vsiflow.phase("t-start"), "Provisioning");
    }
    trap.thaw();
    running.end(120).exits(0);
    assert_eq!(vsiflow.phase("t-start"), "Running");
    // The start is not recorded as a failed boot with a retry.
    let failed = |event: &Event| event.0.to_string().contains("VSI0503");
    assert!(!vsiflow.history("t-start").iter().any(failed));
}
