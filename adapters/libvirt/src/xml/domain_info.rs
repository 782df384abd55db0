//! Parses a domain's definition: its mark, its shape, and every file it names.

use std::borrow::Cow;

use uuid::Uuid;
use vsiflow_steps::ports::{DiskShape, DiskSource, DomainShape, NicSpec, OwnerMark};

use super::{Element, XmlDocument, XmlError, domain::MARK_URI};

/// The relevant parts of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) arch: String,
    pub(crate) mark: Option<OwnerMark>,
    pub(crate) files: Vec<DiskSource>,
    pub(crate) chains: Vec<Vec<String>>,
    pub(crate) shape: DomainShape,
}

/// Parses a definition, live or stored.
pub(crate) fn read(xml: &str) -> Result<Definition, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let missing = |name: &str| XmlError(format!("a domain without a {name}"));
    let name = root.verbatim_text_at(&["name"]);
    let uuid = root
        .text_at(&["uuid"])
        .ok_or_else(|| missing("uuid"))?
        .parse()
        .map_err(|_| XmlError("a domain with an odd UUID".into()))?;
    Ok(Definition {
        uuid,
        name: name.ok_or_else(|| missing("name"))?.into_owned(),
        title: root.text_at(&["title"]).map(str::to_owned),
        arch: arch(root).unwrap_or_default().to_owned(),
        mark: root.child("metadata").and_then(mark),
        files: files(root),
        chains: disks(root).filter_map(chain).collect(),
        shape: shape(root),
    })
}

/// The two definitions of one domain.
#[derive(Debug)]
pub(crate) struct BothDefinitions {
    /// The live one, with the files of both.
    pub(crate) live: Definition,
    /// The shape of the stored one, which may differ.
    pub(crate) stored: DomainShape,
}

/// Parses the live definition of a domain and the stored one.
pub(crate) fn read_both(live: &str, stored: &str) -> Result<BothDefinitions, XmlError> {
    let (mut definition, other) = (read(live)?, read(stored)?);
    definition.files.extend(other.files);
    sort(&mut definition.files);
    Ok(BothDefinitions {
        live: definition,
        stored: other.shape,
    })
}

fn disks(root: Element<'_>) -> impl Iterator<Item = Element<'_>> {
    let devices = root.child("devices").into_iter();
    devices.flat_map(|devices| devices.all("disk"))
}

/// The file or block device of a disk, a backing store or a mirror.
fn source(element: Element<'_>) -> Option<String> {
    let source = element.child("source")?;
    let file = source.verbatim_attribute("file");
    let path = file.or_else(|| source.verbatim_attribute("dev"));
    path.map(Cow::into_owned)
}

/// The files of a disk, from its own down; `None` if the definition does not show the last one, or one is
/// neither a file nor a block device. An empty `backingStore` ends the chain.
fn chain(disk: Element<'_>) -> Option<Vec<String>> {
    let mut files = vec![source(disk)?];
    let mut below = disk.child("backingStore")?;
    while below.child("source").is_some() {
        files.push(source(below)?);
        below = below.child("backingStore")?;
    }
    Some(files)
}

/// The file into which an active commit on the disk merges; `None` if there is no such job.
pub(crate) fn merges_into(xml: &str, target: &str) -> Result<Option<String>, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let is_it = |disk: &Element<'_>| {
        let name = disk.child("target").and_then(|t| t.attribute("dev"));
        name == Some(target)
    };
    let disk = disks(document.root()).find(is_it);
    let mirror = disk.and_then(|disk| disk.child("mirror"));
    let commit = mirror.filter(|mirror| mirror.attribute("job") == Some("active-commit"));
    Ok(commit.and_then(source))
}

fn arch<'a>(root: Element<'a>) -> Option<&'a str> {
    root.child("os")?.child("type")?.attribute("arch")
}

/// Missing values count as empty or zero, because another tool may have written the definition.
fn shape(root: Element<'_>) -> DomainShape {
    let devices = || {
        root.child("devices")
            .into_iter()
            .flat_map(Element::children)
    };
    DomainShape {
        cpus: root.child("vcpu").map(cpus).unwrap_or_default(),
        memory_mib: root.child("memory").map(mib).unwrap_or_default(),
        disks: devices().filter(|d| d.name() == "disk").map(disk).collect(),
        nics: devices()
            .filter(|d| d.name() == "interface")
            .map(nic)
            .collect(),
        screens: Some(super::screen::shapes(devices())),
    }
}

/// The processors of a guest: the attribute `current` if present, otherwise all.
fn cpus(element: Element<'_>) -> u32 {
    let text = element.text();
    let count = element.attribute("current").unwrap_or(text.trim());
    count.parse().unwrap_or_default()
}

/// An amount of memory in MiB; libvirt itself prints KiB.
fn mib(element: Element<'_>) -> u64 {
    let amount: u64 = element.text().trim().parse().unwrap_or_default();
    let shift = match element.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => return amount >> 20,
        "MiB" | "M" => 0,
        "GiB" | "G" => 10,
        "TiB" | "T" => 20,
        _ => return amount >> 10,
    };
    amount.saturating_mul(1 << shift)
}

fn disk(disk: Element<'_>) -> DiskShape {
    let attribute_of = |child: &str, attribute: &str| {
        let element = disk.child(child);
        let value = element.and_then(|c| c.verbatim_attribute(attribute));
        value.map(Cow::into_owned)
    };
    let volume = attribute_of("source", "pool").zip(attribute_of("source", "volume"));
    let source = attribute_of("source", "file")
        .or_else(|| attribute_of("source", "dev"))
        .or_else(|| volume.map(|(pool, volume)| format!("{pool}/{volume}")))
        .or_else(|| attribute_of("source", "name"));
    DiskShape {
        target: attribute_of("target", "dev").unwrap_or_default(),
        source: source.unwrap_or_default(),
        format: attribute_of("driver", "type").unwrap_or_default(),
        readonly: disk.child("readonly").is_some(),
        serial: disk.text_at(&["serial"]).unwrap_or_default().to_owned(),
    }
}

fn nic(nic: Element<'_>) -> NicSpec {
    let attribute_of = |child: &str, attribute: &str| {
        let element = nic.child(child);
        let value = element.and_then(|c| c.attribute(attribute));
        value.map(str::to_owned)
    };
    let network = attribute_of("source", "network").or_else(|| attribute_of("source", "bridge"));
    NicSpec {
        network: network.unwrap_or_default(),
        mac: attribute_of("mac", "address")
            .unwrap_or_default()
            .to_lowercase(),
    }
}

fn mark(metadata: Element<'_>) -> Option<OwnerMark> {
    let mut vsis = metadata.all("vsi");
    let element = vsis.find(|element| element.is_of(MARK_URI))?;
    let text = |name| element.attribute(name).map(str::to_owned);
    let number = |name| {
        element
            .attribute(name)
            .and_then(|number| number.parse().ok())
    };
    Some(OwnerMark {
        journal: text("journal")?,
        uid: text("uid")?,
        generation: number("generation")?,
        sequence: number("sequence")?,
        run: text("run").and_then(|run| run.parse().ok()),
        snapshot: text("snapshot").and_then(|uid| uid.parse().ok()),
    })
}

/// The attributes by which elements of a definition name a path on the host.
const PATHS: [&str; 4] = ["file", "dev", "dir", "path"];

/// Every file that the definition names in its devices, boot and firmware configuration: sources of disks,
/// complete backing chains and mirrors, logs, kernels, firmware.
fn files(root: Element<'_>) -> Vec<DiskSource> {
    let parts = ["devices", "os", "sysinfo"]
        .into_iter()
        .filter_map(|part| root.child(part));
    let mut sources = Vec::new();
    for element in parts.flat_map(Element::descendants) {
        let verbatim = |name| element.verbatim_attribute(name).map(Cow::into_owned);
        if let (Some(pool), Some(volume)) = (verbatim("pool"), verbatim("volume")) {
            sources.push(DiskSource::Volume { pool, volume });
        } else if let Some(protocol) = element.attribute("protocol") {
            let name = element.attribute("name").unwrap_or_default();
            sources.push(DiskSource::Other(format!("{protocol} {name}")));
        }
        let attributes = PATHS.iter().filter_map(|name| verbatim(name));
        let texts = std::iter::once(element.verbatim_text().into_owned());
        let absolute = attributes.chain(texts).filter(|path| path.starts_with('/'));
        sources.extend(absolute.map(DiskSource::Path));
    }
    sort(&mut sources);
    sources
}

fn sort(files: &mut Vec<DiskSource>) {
    files.sort_by_cached_key(|source| format!("{source:?}"));
    files.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_definition_is_found() {
        let xml = "<domain><name>a</name><uuid>6d997109-6b44-40eb-8d88-8bf7fc90bfb5</uuid>
            <os><kernel>/boot/k</kernel></os><devices>
            <emulator>/usr/bin/qemu</emulator>
            <disk type='file'><source file='/i/over'/><backingStore type='file'>
              <source file='/i/base'/></backingStore><mirror><source file='/i/mirror'/></mirror></disk>
            <disk type='volume'><source pool='images' volume='data'/></disk>
            <disk type='network'><source protocol='nbd' name='x'/></disk>
            <console type='pty'><source path='/dev/pts/1'/><log file='/i/c.log'/></console>
            </devices></domain>";
        let files = read(xml).unwrap().files;
        for path in ["/boot/k", "/i/over", "/i/base", "/i/mirror", "/i/c.log"] {
            assert!(files.contains(&DiskSource::Path(path.into())), "{path}");
        }
        let volume = DiskSource::Volume {
            pool: "images".into(),
            volume: "data".into(),
        };
        assert!(files.contains(&volume));
    }

    #[test]
    fn a_domain_has_the_files_of_both_definitions_each_once() {
        let domain = |cpus: u32, file: &str| {
            format!(
                "<domain><name>a</name><uuid>6d997109-6b44-40eb-8d88-8bf7fc90bfb5</uuid>\
                 <vcpu>{cpus}</vcpu><devices><emulator>/usr/bin/qemu</emulator>\
                 <disk><source file='{file}'/></disk></devices></domain>"
            )
        };
        let both = read_both(&domain(1, "/i/live"), &domain(2, "/i/a")).unwrap();
        let paths = ["/i/a", "/i/live", "/usr/bin/qemu"];
        let files = paths.map(|path| DiskSource::Path(path.to_owned()));
        assert_eq!(both.live.files, files);
        assert_eq!((both.live.shape.cpus, both.stored.cpus), (1, 2));
    }

    #[test]
    fn a_chain_counts_only_if_its_end_is_shown() {
        let domain = |disk: &str| {
            format!(
                "<domain><name>a</name><uuid>6d997109-6b44-40eb-8d88-8bf7fc90bfb5</uuid><devices>\
                 <disk><source file='/i/over'/>{disk}<target dev='vda'/></disk></devices></domain>"
            )
        };
        let base = "<backingStore type='file'><source file='/i/base'/>";
        let whole = domain(&format!("{base}<backingStore/></backingStore>"));
        assert_eq!(read(&whole).unwrap().chains, [["/i/over", "/i/base"]]);
        assert_eq!(
            read(&domain("<backingStore/>")).unwrap().chains,
            [["/i/over"]]
        );
        let unended = domain(&format!("{base}</backingStore>"));
        for open in [unended, domain("")] {
            assert!(read(&open).unwrap().chains.is_empty());
        }
    }

    #[test]
    fn only_an_active_commit_merges() {
        let domain = |job: &str| {
            format!(
                "<domain><devices><disk><source file='/i/over'/><mirror type='file' job='{job}'>\
                 <source file='/i/base'/></mirror><target dev='vda'/></disk></devices></domain>"
            )
        };
        let into = |job: &str, target: &str| merges_into(&domain(job), target).unwrap();
        assert_eq!(into("active-commit", "vda").as_deref(), Some("/i/base"));
        assert_eq!(into("copy", "vda"), None);
        assert_eq!(into("active-commit", "vdb"), None);
    }

    #[test]
    fn paths_are_read_as_libvirt_writes_them() {
        let xml = "<domain><name>a</name><uuid>6d997109-6b44-40eb-8d88-8bf7fc90bfb5</uuid>
            <os><kernel>/boot/k </kernel></os><devices>
            <disk type='file'><source file='/i/two\nlines'/><backingStore/></disk>
            <disk type='volume'><source pool='images' volume=' data\t'/></disk></devices></domain>";
        let definition = read(xml).unwrap();
        for path in ["/boot/k ", "/i/two\nlines"] {
            assert!(
                definition.files.contains(&DiskSource::Path(path.into())),
                "{path:?}"
            );
        }
        let (pool, volume) = ("images".to_owned(), " data\t".to_owned());
        assert!(
            definition
                .files
                .contains(&DiskSource::Volume { pool, volume })
        );
        assert_eq!(definition.shape.disks[0].source, "/i/two\nlines");
        assert_eq!(definition.chains, [["/i/two\nlines"]]);
    }

    #[test]
    fn processors_that_are_taken_away_do_not_count() {
        let xml = |vcpu: &str| {
            format!(
                "<domain><name>a</name><uuid>6d997109-6b44-40eb-8d88-8bf7fc90bfb5</uuid>{vcpu}</domain>"
            )
        };
        let cpus = |vcpu: &str| read(&xml(vcpu)).unwrap().shape.cpus;
        assert_eq!(cpus("<vcpu placement='static'>2</vcpu>"), 2);
        assert_eq!(cpus("<vcpu current='1'>2</vcpu>"), 1);
        assert_eq!(cpus("<vcpu>many</vcpu>"), 0);
        assert_eq!(cpus(""), 0);
    }

    #[test]
    fn anothers_metadata_is_no_mark() {
        let xml = "<domain><name>a</name><uuid>6d997109-6b44-40eb-8d88-8bf7fc90bfb5</uuid><metadata>
            <o:vsi xmlns:o='https://elsewhere.example' journal='j' uid='u' generation='1' sequence='1'/>
            </metadata></domain>";
        assert_eq!(read(xml).unwrap().mark, None);
    }
}
