//! A guest's screen: VNC on the loopback address of its host, with a video device, a keyboard and a pointer
//! that suit the architecture.

use vsiflow_steps::ports::{Graphics, MachineSpec, ScreenShape};

use super::super::write::Tag;

/// The devices of a screen; empty if there is none.
pub(super) fn devices(machine: &MachineSpec, iommu: bool) -> Vec<Tag> {
    match machine.platform.as_ref().map(|platform| platform.graphics) {
        None | Some(Graphics::None) => Vec::new(),
        Some(Graphics::Vnc) => {
            let mut devices = inputs(&machine.arch, iommu);
            devices.extend([vnc(), video(&machine.arch, iommu)]);
            devices
        }
    }
}

/// The address is fixed; libvirt chooses a free port at each start.
fn vnc() -> Tag {
    let listen = Tag::new("listen")
        .with("type", "address")
        .with("address", ScreenShape::LOOPBACK);
    Tag::new("graphics")
        .with("type", ScreenShape::VNC)
        .with("port", -1)
        .with("autoport", "yes")
        .with("listen", ScreenShape::LOOPBACK)
        .child(listen)
}

/// VGA if firmware and boot loaders draw on it; otherwise a device that the kernel has a driver for.
fn video(arch: &str, iommu: bool) -> Tag {
    let model = match arch {
        "x86_64" | "ppc64le" => "vga",
        _ => "virtio",
    };
    let needs = iommu && model == "virtio";
    Tag::new("video")
        .children(needs.then(driver))
        .child(Tag::new("model").with("type", model))
}

/// A PC always has a keyboard. A tablet has absolute coordinates, so its pointer follows the viewer's.
fn inputs(arch: &str, iommu: bool) -> Vec<Tag> {
    let (bus, kinds): (&str, &[&str]) = match arch {
        "x86_64" => ("usb", &["tablet"]),
        "ppc64le" => ("usb", &["keyboard", "tablet"]),
        _ => ("virtio", &["keyboard", "tablet"]),
    };
    let needs = iommu && bus == "virtio";
    let input = |kind: &&str| {
        Tag::new("input")
            .with("type", *kind)
            .with("bus", bus)
            .children(needs.then(driver))
    };
    kinds.iter().map(input).collect()
}

fn driver() -> Tag {
    Tag::new("driver").with("iommu", "on")
}

#[cfg(test)]
mod tests {
    use vsiflow_steps::ports::Platform;

    use super::super::{describe, tests::spec};
    use super::*;
    use crate::xml::domain_info;

    fn xml(arch: &str, graphics: Graphics, secure: bool) -> String {
        let mut spec = spec();
        spec.machine.arch = arch.to_owned();
        spec.machine.secure_execution = secure;
        spec.machine.platform = Some(Platform {
            graphics,
            ..Platform::default()
        });
        describe(&spec)
    }

    #[test]
    fn each_architecture_has_a_screen_on_the_loopback_that_fits_it() {
        for (arch, video, inputs) in [
            ("x86_64", "vga", "<input type='tablet' bus='usb'/><graphics"),
            (
                "ppc64le",
                "vga",
                "<input type='keyboard' bus='usb'/><input type='tablet' bus='usb'/><graphics",
            ),
            (
                "aarch64",
                "virtio",
                "<input type='keyboard' bus='virtio'/><input type='tablet' bus='virtio'/><graphics",
            ),
            (
                "s390x",
                "virtio",
                "<input type='tablet' bus='virtio'/><graphics",
            ),
        ] {
            let text = xml(arch, Graphics::Vnc, false);
            let vnc = "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>";
            let video = format!("<video><model type='{video}'/></video>");
            for part in [vnc, video.as_str(), inputs] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
            assert_eq!(text.matches("<graphics").count(), 1);
            assert!(!text.contains("passwd"), "{text}");
            let read = domain_info::read(&text).unwrap();
            assert_eq!(read.shape.screens, Some(vec![ScreenShape::ours()]));
        }
    }

    #[test]
    fn without_a_screen_a_machine_is_defined_as_before() {
        let text = xml("x86_64", Graphics::None, false);
        for part in ["graphics", "video", "<input"] {
            assert!(!text.contains(part), "{part} is in {text}");
        }
        let read = domain_info::read(&text).unwrap();
        assert_eq!(read.shape.screens, Some(Vec::new()));
    }

    #[test]
    fn a_protected_guest_has_virtio_devices_that_it_can_use() {
        let text = xml("s390x", Graphics::Vnc, true);
        let video = "<video><driver iommu='on'/><model type='virtio'/></video>";
        assert!(text.contains(video), "{text}");
        assert!(
            text.contains("bus='virtio'><driver iommu='on'/></input>"),
            "{text}"
        );
    }
}
