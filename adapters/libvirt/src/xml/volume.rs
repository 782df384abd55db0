//! Parses and writes volumes: <https://libvirt.org/formatstorage.html>.

use std::borrow::Cow;

use vsiflow_steps::ports::{VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec};

use super::{XmlDocument, XmlError, write::Tag};

/// The description of a volume to create. It requests the current version of qcow2, because libvirt's default
/// is that of 2010.
pub(crate) fn describe(spec: &VolumeSpec) -> String {
    let target = |format: VolumeFormat| {
        let target = Tag::new("target").child(Tag::new("format").with("type", format.as_str()));
        match format {
            VolumeFormat::Qcow2 => target.child(Tag::new("compat").text("1.1")),
            VolumeFormat::Raw => target,
        }
    };
    let backing = spec.backing.iter().map(|(path, format)| {
        Tag::new("backingStore")
            .child(Tag::new("path").text(path))
            .child(Tag::new("format").with("type", format.as_str()))
    });
    Tag::new("volume")
        .child(Tag::new("name").text(&spec.key.name))
        .child(
            Tag::new("capacity")
                .with("unit", "bytes")
                .text(spec.capacity),
        )
        .child(Tag::new("allocation").with("unit", "bytes").text(0))
        .child(target(spec.format))
        .children(backing)
        .build()
}

/// Parses a volume's description. Its sizes are in bytes, whatever unit was used to create it.
pub(crate) fn read(pool: &str, xml: &str) -> Result<VolumeInfo, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let text = |path: &[&str]| root.text_at(path).map(str::to_owned);
    let verbatim = |path: &[&str]| root.verbatim_text_at(path).map(Cow::into_owned);
    let needed = |path: &[&str]| {
        verbatim(path).ok_or_else(|| XmlError(format!("a volume without {}", path.join("/"))))
    };
    let size = |path: &[&str]| text(path).and_then(|text| text.parse().ok());
    let capacity = size(&["capacity"]).unwrap_or(0);
    let format = root
        .at(&["target", "format"])
        .and_then(|format| format.attribute("type"));
    Ok(VolumeInfo {
        key: VolumeKey {
            pool: pool.to_owned(),
            name: needed(&["name"])?,
        },
        path: needed(&["target", "path"])?,
        format: format.unwrap_or("raw").to_owned(),
        capacity,
        allocation: size(&["allocation"]).unwrap_or(0),
        // If libvirt does not report the length of a raw file separately, it is the capacity.
        physical: size(&["physical"]).unwrap_or(capacity),
        backing: verbatim(&["backingStore", "path"]).filter(|path| !path.is_empty()),
        unreadable: None,
        modified: text(&["target", "timestamps", "mtime"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_escaped_and_asks_for_the_present_format() {
        let spec = VolumeSpec {
            key: VolumeKey {
                pool: "p".into(),
                name: "a<b>&'c".into(),
            },
            format: VolumeFormat::Qcow2,
            capacity: 7,
            backing: Some(("/x/y".into(), VolumeFormat::Raw)),
        };
        assert_eq!(
            describe(&spec),
            "<volume><name>a&lt;b&gt;&amp;&apos;c</name><capacity unit='bytes'>7</capacity>\
             <allocation unit='bytes'>0</allocation><target><format type='qcow2'/>\
             <compat>1.1</compat></target><backingStore><path>/x/y</path><format type='raw'/>\
             </backingStore></volume>"
        );
    }

    #[test]
    fn a_volume_is_read() {
        let xml = "<volume type='file'><name>a.qcow2</name><key>/i/a.qcow2</key>
            <capacity unit='bytes'>67108864</capacity><allocation unit='bytes'>6819840</allocation>
            <physical unit='bytes'>6815744</physical><target><path>/i/a.qcow2</path>
            <format type='qcow2'/><timestamps><atime>1.0</atime><mtime>2.5</mtime></timestamps>
            </target><backingStore><path>/i/base</path></backingStore></volume>";
        let volume = read("images", xml).unwrap();
        assert_eq!(volume.capacity, 67_108_864);
        assert_eq!(volume.physical, 6_815_744);
        assert_eq!(volume.backing.as_deref(), Some("/i/base"));
        assert_eq!(volume.modified.as_deref(), Some("2.5"));
    }
}
