//! Uploads images of random bytes to the lab's host.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{Lab, Ran, Running, Vsiflow, until};

/// A MiB.
pub const MIB: u64 = 1 << 20;
/// The size of an image, in bytes.
pub const SIZE: u64 = 96 * MIB;
/// The most bytes that may be sent again after an interruption.
pub const INTERVAL: u64 = 16 * MIB;

/// An upload of a raw image of random bytes. Drop deletes its volume.
pub struct TestUpload {
    /// The vsiflow that uploads.
    pub vsiflow: Vsiflow,
    /// The image's and the volume's name.
    pub name: String,
    /// The file with the image's bytes.
    pub file: PathBuf,
    source: String,
    pool: String,
    host: PathBuf,
    folder: PathBuf,
    more: Vec<String>,
}

impl TestUpload {
    /// An upload from a file of [`SIZE`] bytes.
    pub fn of(lab: &Lab, name: &str, seed: u64) -> Self {
        Self::sized(lab, name, seed, SIZE)
    }

    /// An upload from a file of `size` bytes, rounded down to whole MiB.
    pub fn sized(lab: &Lab, name: &str, seed: u64, size: u64) -> Self {
        let vsiflow = Vsiflow::of_documents();
        let (name, mut bytes) = (format!("{name}.img"), vec![0; 1 << 20]);
        let file = vsiflow.folder().join(&name);
        let (mut random, mut out) = (StdRng::seed_from_u64(seed), File::create(&file).unwrap());
        for _ in 0..size / MIB {
            random.fill(&mut bytes[..]);
            out.write_all(&bytes).unwrap();
        }
        out.write_all_at(b"raw", 0).unwrap();
        let host = vsiflow.write("host.yaml", &lab.host().to_string());
        Self {
            source: file.to_str().unwrap().to_owned(),
            vsiflow,
            name,
            file,
            pool: "images".to_owned(),
            host,
            folder: PathBuf::from("/var/lib/libvirt/images"),
            more: Vec::new(),
        }
    }

    /// The same from this source.
    #[must_use]
    pub fn from(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// The same into this pool, which is in `folder`.
    #[must_use]
    pub fn into_pool(mut self, pool: &str, folder: &Path) -> Self {
        (self.pool, self.folder) = (pool.to_owned(), folder.to_owned());
        self
    }

    /// The same to the host of these documents.
    #[must_use]
    pub fn on(self, host: &impl ToString) -> Self {
        std::fs::write(&self.host, host.to_string()).unwrap();
        self
    }

    /// The same with more arguments.
    #[must_use]
    pub fn with(mut self, more: &[&str]) -> Self {
        self.more = more.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The same with more keys in the host's Secret.
    #[must_use]
    pub fn with_keys(self, keys: &[(&str, &str)]) -> Self {
        let mut text = std::fs::read_to_string(&self.host).unwrap();
        let at = text.find("kind: Secret").unwrap();
        let at = at + text[at..].find("stringData:\n").unwrap() + "stringData:\n".len();
        for (key, value) in keys {
            text.insert_str(at, &format!("  {key}: \"{value}\"\n"));
        }
        std::fs::write(&self.host, text).unwrap();
        self
    }

    /// The same with this `TRANSFER` in the host's Secret, in place of an earlier one.
    #[must_use]
    pub fn by_way(self, transfer: &str) -> Self {
        let text = std::fs::read_to_string(&self.host).unwrap();
        let others = text.lines().filter(|line| !line.contains("TRANSFER:"));
        let known_hosts: String = others.map(|line| format!("{line}\n")).collect();
        std::fs::write(&self.host, known_hosts).unwrap();
        self.with_keys(&[("TRANSFER", transfer)])
    }

    /// The image's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).unwrap()
    }

    /// The volume's file.
    pub fn volume(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The arguments of `image upload`.
    pub fn arguments<'b>(&'b self, limit: &'b str) -> Vec<&'b str> {
        let host = self.host.to_str().unwrap();
        let image = ["-v", "image", "upload", &self.source, "-f", host];
        let more = self.more.iter().map(String::as_str);
        let pool = ["--pool", &self.pool, "--upload-limit", limit];
        image.into_iter().chain(pool).chain(more).collect()
    }

    /// The arguments of `image unlock`, which removes the claim.
    pub fn unlocking(&self) -> Vec<&str> {
        let host = self.host.to_str().unwrap();
        let unlock = ["image", "unlock", &self.name, "-f", host, "--pool"];
        unlock.into_iter().chain([&*self.pool, "--force"]).collect()
    }

    /// Starts the upload at this many bytes a second.
    pub fn start_at(&self, limit: &str) -> Running {
        self.vsiflow.start(&self.arguments(limit))
    }

    /// Runs the upload to its end.
    pub fn run(&self) -> Ran {
        self.vsiflow.run(&self.arguments("1Gi"))
    }

    /// Waits until the host has this many bytes.
    pub fn reaches(&self, bytes: u64) {
        until(&format!("{bytes} bytes of {}", self.name), 60, || {
            (self.length() >= bytes).then_some(())
        });
    }

    fn length(&self) -> u64 {
        self.volume().metadata().map_or(0, |found| found.len())
    }

    /// Waits until no more bytes arrive, and returns the length of the volume.
    pub fn settled(&self) -> u64 {
        let mut before = (self.length(), 0);
        until("the end of what was on its way", 30, || {
            let now = self.length();
            before = (now, if now == before.0 { before.1 + 1 } else { 0 });
            (before.1 > 60).then_some(now)
        })
    }

    /// Asserts that the host has the file's bytes, and the mark that the image is whole.
    #[track_caller]
    pub fn is_whole(&self) {
        let digest = |path: &Path| {
            let output = Command::new("sha256sum").arg(path).output().unwrap().stdout;
            String::from_utf8(output).unwrap()[..64].to_owned()
        };
        assert_eq!(digest(&self.volume()), digest(&self.file));
        assert!(self.is_marked());
    }

    /// Whether the volume has the mark that the image is whole.
    pub fn is_marked(&self) -> bool {
        let claim = self.folder.join(format!(".{}.vsiflow", self.name));
        let mut text = String::new();
        let read = File::open(claim).and_then(|file| file.take(2_048).read_to_string(&mut text));
        read.is_ok() && text.contains("sha256")
    }

    /// Resumes the upload, and returns how many bytes it sent again that the host already had.
    #[track_caller]
    pub fn goes_on(&self) -> u64 {
        let had = self.settled();
        assert!(!self.is_marked());
        let ran = self.run().exits(0);
        self.is_whole();
        let position = position(&ran.stderr).unwrap_or_else(|| panic!("sent anew: {ran:#?}"));
        had.saturating_sub(position)
    }
}

impl Drop for TestUpload {
    fn drop(&mut self) {
        for name in [self.name.clone(), format!(".{}.vsiflow", self.name)] {
            let mut virsh = Command::new("virsh");
            let virsh = virsh.args(["-q", "-c", "qemu:///system", "vol-delete", "--pool"]);
            let _ = virsh.arg(&self.pool).arg(name).output();
        }
    }
}

/// The position at which the last upload resumed, from its log.
pub fn position(answer: &str) -> Option<u64> {
    let (_, after) = answer.rsplit_once("position=")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
