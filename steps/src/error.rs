//! The error codes: what the engine and the user do about each failure.
//!
//! `docs/reference/errors.md` lists the same codes for people; a test compares the two.

use vsiflow_engine::model::{Failure, FailureClass, Text};

use crate::ports::{PortError, PortErrorKind, SourceError, SourceErrorKind};

/// A documented code: what it means, what the engine does, and the user's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `VSI0101` and so on.
    pub code: &'static str,
    /// What the engine does.
    pub class: FailureClass,
    /// What the user does, in one sentence.
    pub remedy: &'static str,
}

impl Code {
    /// A failure of this code; `message` says what happened.
    pub fn failure(&self, message: impl AsRef<str>) -> Failure {
        Failure::new(self.class, self.code, message).with_remedy(self.remedy)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $class:ident, $remedy:literal;)*) => {
        $($(#[$doc])*
        pub const $name: Code =
            Code { code: $code, class: FailureClass::$class, remedy: $remedy };)*
        /// Every code of this crate.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// The host cannot be reached.
    UNREACHABLE = "VSI0101", Transient,
        "Check that the host is up and that its name, port and network are right; vsiflow keeps trying.";
    /// A call's deadline passed before it was sent.
    TIMEOUT = "VSI0102", Transient,
        "Check whether the host is overloaded; vsiflow keeps trying.";
    /// A call was sent, and its reply was not received.
    OUTCOME_UNKNOWN = "VSI0103", Transient,
        "No action is needed: vsiflow checks the host and continues.";
    /// The host is working on the object.
    BUSY = "VSI0104", Transient,
        "Wait until the host has finished its work on the object; vsiflow keeps trying.";
    /// The host's key is not among the known hosts.
    HOST_KEY_UNKNOWN = "VSI0105", Blocked,
        "Compare the key's fingerprint on the host, add the key to KNOWN_HOSTS, then `vsiflow retry`.";
    /// The host's key differs from the known one.
    HOST_KEY_CHANGED = "VSI0106", Blocked,
        "Find out why the host's key changed, replace it in KNOWN_HOSTS, then `vsiflow retry`.";
    /// The host refused the credentials.
    AUTH_REFUSED = "VSI0107", Blocked,
        "Check USER and KEY of the host and its authorized_keys, then `vsiflow retry`.";
    /// libvirt does not answer.
    LIBVIRT_ABSENT = "VSI0108", Transient,
        "Start libvirtd on the host, with split daemons by `systemctl enable --now virtproxyd.socket`, or check SOCKET; vsiflow keeps trying.";
    /// The host forbids what is needed.
    DENIED = "VSI0109", Blocked,
        "Permit socket forwarding in sshd and the libvirt socket to this user, then `vsiflow retry`.";
    /// The host answered with an error that has no code of its own.
    HOST_ERROR = "VSI0110", Transient,
        "Read the host's own words in the message and its libvirt log; vsiflow keeps trying.";
    /// libvirt has been starting the domain for longer than a minute. Source of the remedy: libvirt 9.0.0 that is
    /// killed before it knows the pid of the domain's process writes `pid='0'` into the domain's status file,
    /// reports a start that nobody carries out after each restart, and refuses to end it.
    START_LASTS = "VSI0111", Transient,
        "Wait if the guest is large; if libvirtd was killed during the start and no process of the domain runs, stop libvirtd (or virtqemud), remove `/run/libvirt/qemu/DOMAIN.xml` on the host, and start it; vsiflow keeps trying.";

    /// There is no such pool.
    POOL_MISSING = "VSI0201", Recheck,
        "Define the storage pool on the host or correct `storagePool`; vsiflow checks again automatically.";
    /// The pool is inactive.
    POOL_INACTIVE = "VSI0202", Recheck,
        "Start the pool with `virsh pool-start`; vsiflow checks again automatically.";
    /// There is no room.
    NO_SPACE = "VSI0203", Recheck,
        "Make room in the storage pool; vsiflow checks again automatically.";
    /// There is no such network.
    NETWORK_MISSING = "VSI0204", Recheck,
        "Define the network on the host or correct `networkName`; vsiflow checks again automatically.";
    /// The network is inactive.
    NETWORK_INACTIVE = "VSI0205", Recheck,
        "Start the network with `virsh net-start`; vsiflow checks again automatically.";
    /// The host has a network of this name that this journal did not make.
    NETWORK_FOREIGN = "VSI0225", Blocked,
        "Give the VirtualServerNetwork another name, or refer to the host's own network with a HyperProtectContainerRuntimeOnPremNetworkRef, then apply again.";
    /// Something still uses the network.
    NETWORK_IN_USE = "VSI0229", Recheck,
        "Take the card of the domain in the message off the network, or delete that domain; vsiflow checks again automatically.";
    /// The network's addresses are in use on the host.
    NETWORK_OVERLAP = "VSI0315", Recheck,
        "Choose a `cidr` that the host does not use, or remove what the message names; vsiflow checks again automatically.";
    /// Another card has the address or the name.
    ADDRESS_TAKEN = "VSI0316", Recheck,
        "Choose another address, remove on the host what the message names, or free with `vsiflow delete UID --release` what a forgotten VSI has; vsiflow checks again automatically.";
    /// A network of the VSI is not made.
    NETWORK_NOT_MADE = "VSI0317", Recheck,
        "Remove the cause in the message; vsiflow checks again automatically.";
    /// The host lacks what the network needs.
    NETWORK_UNSUPPORTED = "VSI0749", Recheck,
        "Name a bridge that the host has, or leave out what the message names; vsiflow checks again automatically.";
    /// An object that is needed is not there.
    MISSING = "VSI0206", Recheck,
        "Put the object back or correct the reference to it; vsiflow checks again automatically.";
    /// An object with this name exists, and this journal did not make it.
    NOT_OURS = "VSI0207", Blocked,
        "Find the owner of the object; move it away, or adopt it with `vsiflow adopt`, then `vsiflow retry`.";
    /// The host does not take the description.
    REJECTED = "VSI0208", Blocked,
        "Correct what the host reports in the message, then `vsiflow retry`.";
    /// The object is in another state than the call needs.
    WRONG_STATE = "VSI0209", Transient,
        "No action is needed unless it persists: vsiflow checks the object again.";
    /// The host is cordoned.
    CORDONED = "VSI0215", Recheck,
        "Run `vsiflow host uncordon HOST`, or name another host; vsiflow checks again automatically.";
    /// Something still uses the volume.
    IN_USE = "VSI0210", Recheck,
        "Detach the volume from the user in the message, or delete that user; vsiflow checks again automatically.";
    /// The host has seen a newer journal than this one.
    JOURNAL_BEHIND = "VSI0211", Blocked,
        "Use the newer state directory, or adopt the domain with `vsiflow adopt`: this directory is older than what it made on the host.";
    /// The guest does not run, and the desired state needs one that does.
    NOT_RUNNING = "VSI0212", Blocked,
        "Start the VSI with `vsiflow start`, then run the command again.";
    /// A data disk of the VSI is not made.
    DISK_NOT_MADE = "VSI0213", Recheck,
        "Remove the cause in the message; vsiflow checks again automatically.";
    /// The guest was moved to another host.
    MOVED = "VSI0217", Blocked,
        "Move it back with `virsh migrate`, or, if it stays off there, start it here with `virsh start`, then `vsiflow retry`; `vsiflow delete --orphan` forgets it.";
    /// Another file has the name of a disk that is to be destroyed.
    REPLACED = "VSI0236", Blocked,
        "Put the guest's file back, then `vsiflow retry`; if this is the guest's disk, record it with `vsiflow stop` and `vsiflow start` and order the change again, or forget the VSI or the data disk with `vsiflow delete --orphan`, also if it is being deleted.";
    /// A disk that a restoration began to replace, and did not finish, is to be used.
    HALF_RESTORED = "VSI0237", Blocked,
        "Restore it with `vsiflow snapshot restore`, also from another snapshot, or delete the disk; to use it as it is, forget it with `vsiflow delete disk/NAME --orphan` and refer to its volume.";
    /// The guest was saved with its memory, and what is to be changed does not fit that.
    SAVED_MEMORY = "VSI0216", Blocked,
        "On the host, resume the guest with `virsh start` or drop its memory with `virsh managedsave-remove`; then `vsiflow retry`.";
    /// Something else uses a disk that a snapshot is to be taken of.
    DISK_SHARED = "VSI0221", Blocked,
        "Give each VSI disks of its own, or stop the other user of the disk, then `vsiflow retry`; `vsiflow snapshot delete` gives the snapshot up.";
    /// A snapshot cannot be taken of a guest in this state.
    SNAPSHOT_REFUSED = "VSI0222", Blocked,
        "Stop the VSI with `vsiflow stop`, or leave out what the message names, and take a new snapshot; `vsiflow snapshot delete` gives this one up.";
    /// A layer of a snapshot of this journal lies over a disk.
    OWN_LAYER = "VSI0223", Transient,
        "No action is needed unless it persists: vsiflow merges the layer of its own snapshot; if its domain was undefined, merge it with `qemu-img commit` and delete its file.";
    /// A layer of a snapshot of this journal may have data that is in no other file.
    UNMERGED_LAYER = "VSI0232", Blocked,
        "If the guest's present disk lacks what was written meanwhile, stop the guest and merge the layer with `qemu-img commit LAYER`; then delete its file, and `vsiflow retry`.";
    /// A domain to adopt has a disk that vsiflow cannot name.
    DISK_UNKNOWN = "VSI0233", Blocked,
        "Detach the disk, or move it into an active storage pool (`virsh pool-start`, `virsh pool-create-as`), then adopt again.";
    /// A snapshot's copies have no recorded hash.
    COPY_UNVERIFIED = "VSI0234", Blocked,
        "Restore it with `vsiflow snapshot restore SNAPSHOT --unverified` if the copies are good, or choose another snapshot.";
    /// A copy of a snapshot is not what was recorded.
    COPY_DAMAGED = "VSI0235", Blocked,
        "Choose another snapshot, or put the file back as it was, then `vsiflow retry`; `vsiflow snapshot restore SNAPSHOT --unverified` restores it as it is.";
    /// A data disk cannot be filled from what its document names.
    DISK_SOURCE = "VSI0226", Blocked,
        "Correct `source` of the data disk, or wait until what it names is there and whole, then apply again.";
    /// A data disk is smaller than what it is to be filled with.
    DISK_TOO_SMALL = "VSI0227", Blocked,
        "Set `size` of the data disk to what the message names or more, then apply again.";
    /// A disk that is to be copied is in use, or changed while it was copied.
    DISK_SOURCE_IN_USE = "VSI0228", Recheck,
        "Stop the user in the message, or take a snapshot and use that in its place; vsiflow checks again automatically.";
    /// The memory of a snapshot does not fit the VSI as it is now.
    MEMORY_UNFIT = "VSI0230", Blocked,
        "Restore the disks alone with `vsiflow snapshot restore SNAPSHOT --disks-only`, or undo what the message names, then `vsiflow retry`.";
    /// The memory of a snapshot does not exist, or is not what was saved.
    MEMORY_DAMAGED = "VSI0231", Blocked,
        "Restore the disks alone with `vsiflow snapshot restore SNAPSHOT --disks-only`, or put the file back as it was, then `vsiflow retry`.";
    /// A document names a volume of vsiflow's own as its data disk.
    RESERVED_VOLUME = "VSI0219", Blocked,
        "Name a volume of your own as the data disk and apply again; a copy of this one can be made with `virsh vol-clone`.";
    /// Another machine answers under the host's name and key.
    OTHER_MACHINE = "VSI0220", Blocked,
        "Find out which machine it is; if it took the other's place on purpose, `vsiflow host accept HOST`.";
    /// A disk is not what it was when it was attached first, or reads through to another file.
    DISK_FORMAT = "VSI0218", Blocked,
        "Inspect it with `qemu-img info` and restore its format, or give the volume another name and refer to that; then `vsiflow retry`.";
    /// Another file, or a link, is in the place of a volume's file.
    FILE_REPLACED = "VSI0330", Blocked,
        "Find out who put the file there and remove it, then `vsiflow retry`.";
    /// Documents lack what others refer to.
    REFERENCE_MISSING = "VSI0214", Blocked,
        "Add the document that the message names, then apply again.";

    /// The image's source cannot be read just now.
    SOURCE_UNREACHABLE = "VSI0301", Transient,
        "Check that the image's server answers; vsiflow keeps trying.";
    /// The source has no such image.
    SOURCE_MISSING = "VSI0302", Recheck,
        "Put the image where `imageURL` points or correct it; vsiflow checks again automatically.";
    /// The server denies access to the image.
    SOURCE_FORBIDDEN = "VSI0303", Recheck,
        "Permit this machine to read the image; vsiflow checks again automatically.";
    /// The source returned no image.
    SOURCE_INVALID = "VSI0304", Blocked,
        "Correct `imageURL`, or at its source what the message names, then `vsiflow retry`.";
    /// The image has another checksum.
    CHECKSUM = "VSI0305", Blocked,
        "Compare `imageChecksum` with the vendor's, or replace the image at its source.";
    /// The image needs another file, or is not a disk.
    NOT_QCOW2 = "VSI0306", Blocked,
        "Provide a raw image, or a qcow2 image without backing file or external data file.";
    /// The image on the host is not what was verified or sent.
    VERIFICATION = "VSI0307", Transient,
        "No action is needed unless it persists: then check the host's disk and file system.";

    /// Another journal has the image.
    IMAGE_CLAIMED = "VSI0308", Transient,
        "Wait for the other upload; if that vsiflow will not return, run `vsiflow image unlock --force`.";
    /// The source changed while it was read.
    SOURCE_CHANGED = "VSI0309", Transient,
        "No action is needed unless it persists: then give `imageChecksum`, which counts more than the versions that servers name, or find out who changes the image at its source.";
    /// The image is where this process must not read.
    SOURCE_REFUSED = "VSI0310", Recheck,
        "Use another `imageURL`, or ask the operator of vsiflow to permit this one: `--allow-files`, `--allow-image-addresses`, or IMAGE_ALLOW_INSECURE in the host's settings.";
    /// The image unpacks to more than can be meant.
    SOURCE_TOO_LARGE = "VSI0311", Blocked,
        "See what the image unpacks to; provide it unpacked, so that its length is known, or make room in the pool, then `vsiflow retry`.";
    /// The registry's content is not what it is said to be.
    SOURCE_MISMATCH = "VSI0312", Blocked,
        "Push an image whose one disk is in /disk/, or find out who changes content in the registry, then `vsiflow retry`.";
    /// An OVA, VMDK or VHDX that cannot become a disk.
    SOURCE_APPLIANCE = "VSI0320", Blocked,
        "Provide an OVA with one disk and a right manifest, a VMDK or VHDX that is closed and has no parent, on a server that answers ranges, or convert the disk: `qemu-img convert -f vmdk -O qcow2 IN OUT`; then `vsiflow retry`.";

    /// A file that a user has to send has not been sent.
    SOURCE_AWAITED = "VSI0331", Blocked,
        "Send it with `kubectl vsi image upload FILE NAME`, which resumes where it was; outside of a cluster, name it with `file:///`.";

    /// The contract is not YAML.
    CONTRACT_YAML = "VSI0401", Blocked,
        "Correct the contract's YAML at the line the message names and apply it again.";
    /// The contract has no workload.
    CONTRACT_WORKLOAD = "VSI0402", Blocked,
        "Add a `workload` section to the contract and apply it again.";
    /// The contract has no env.
    CONTRACT_ENV = "VSI0403", Blocked,
        "Add an `env` section to the contract and apply it again.";
    /// A section of the contract has the wrong form.
    CONTRACT_SECTION = "VSI0404", Blocked,
        "Give the section as text, as a mapping, or as `hyper-protect-basic.PASSWORD.DATA`, and apply again.";
    /// The contract is no longer stored.
    CONTRACT_GONE = "VSI0405", Blocked,
        "Apply the document again, to store its contract again.";

    /// An encrypted section of the contract is broken.
    CONTRACT_TOKEN = "VSI0406", Blocked,
        "Encrypt the section again, with `vsiflow contract encrypt` or IBM's scripts, and copy it whole.";
    /// The contract's signature does not fit.
    CONTRACT_SIGNATURE = "VSI0407", Blocked,
        "Sign the contract again, after its last change, with the key that belongs to `signingKey`.";
    /// The contract's certificate is not valid at this time.
    CONTRACT_EXPIRED = "VSI0408", Blocked,
        "Create a new certificate for the signer's key, put it into `signingKey` and sign again.";
    /// The contract's container archive cannot be used.
    CONTRACT_ARCHIVE = "VSI0409", Blocked,
        "Pack the folder of docker-compose.yaml again with `tar -czf`, with regular files only, and encode it with `base64 -w0`.";
    /// A volume of the contract is not described whole.
    CONTRACT_VOLUME = "VSI0410", Blocked,
        "Name each volume in `workload` and in `env`, with a `seed` in both and a `mount` in `workload`.";
    /// A key or certificate of the contract cannot be used.
    CONTRACT_KEY = "VSI0411", Blocked,
        "Give an RSA key of 2048 to 8192 bits, or a certificate with one, in PEM and without a passphrase.";
    /// Something in the contract is doubtful.
    CONTRACT_DOUBT = "VSI0412", Blocked,
        "Compare the line that the message names with IBM's description of the contract.";

    /// The guest said that its boot failed.
    BOOT_FATAL = "VSI0501", Failed,
        "Follow the guest's message, then `vsiflow retry`; the console is stored.";
    /// The guest did not become ready in time.
    BOOT_DEADLINE = "VSI0502", Failed,
        "Read the console with `vsiflow logs` to see how far the boot came, then `vsiflow retry`.";
    /// The guest stopped before it was ready.
    BOOT_STOPPED = "VSI0503", Failed,
        "Read the end of the console with `vsiflow logs` for the reason, then `vsiflow retry`.";
    /// The guest runs, and what it was to set up failed.
    GUEST_SETUP = "VSI0506", Failed,
        "Correct what the guest's message names in the user-data and apply again, or run `vsiflow retry`; the console log is stored.";
    /// The guest said that its boot failed, and runs on: its boot disk is not made anew for that.
    BOOT_RUNS_ON = "VSI0507", Failed,
        "Read the console with `vsiflow logs`, then `vsiflow restart` to boot it again from the disk that it has, or `vsiflow rebuild` to make that anew.";
    /// The previous VSI of the rollout did not boot.
    ROLLOUT_STOPPED = "VSI0505", Recheck,
        "Repair the VSI in the message, or undo the change; then `vsiflow retry`, or wait.";
    /// The host cannot run such a guest.
    ARCHITECTURE = "VSI0504", Blocked,
        "Choose a host for this architecture or security mode, or install its emulator there, then `vsiflow retry`.";
}

/// The SSH key itself cannot be used: no login was tried.
pub const KEY_UNUSABLE: Code = Code {
    remedy: "Correct what the message says about KEY, KEY_FILE or KEY_PASSPHRASE, then `vsiflow retry`.",
    ..AUTH_REFUSED
};
/// The known hosts cannot be used.
pub const KNOWN_HOSTS_UNUSABLE: Code = Code {
    remedy: "Correct in KNOWN_HOSTS, or in its file, what the message names, then `vsiflow retry`.",
    ..HOST_KEY_UNKNOWN
};
/// The host's key is revoked.
pub const HOST_KEY_REVOKED: Code = Code {
    remedy: "Give the host a new key and add that to KNOWN_HOSTS, or remove the `@revoked` line if it is wrong, then `vsiflow retry`.",
    ..HOST_KEY_CHANGED
};
/// Codes of above with the remedies of another cause.
pub const OTHER_CAUSES: &[Code] = &[KEY_UNUSABLE, KNOWN_HOSTS_UNUSABLE, HOST_KEY_REVOKED];

fn of_port(kind: PortErrorKind) -> Code {
    use PortErrorKind as MessageKind;
    match kind {
        MessageKind::Unreachable => UNREACHABLE,
        MessageKind::Timeout => TIMEOUT,
        MessageKind::OutcomeUnknown => OUTCOME_UNKNOWN,
        MessageKind::Busy => BUSY,
        MessageKind::HostKeyUnknown => HOST_KEY_UNKNOWN,
        MessageKind::HostKeyChanged => HOST_KEY_CHANGED,
        MessageKind::HostKeyRevoked => HOST_KEY_REVOKED,
        MessageKind::KnownHosts => KNOWN_HOSTS_UNUSABLE,
        MessageKind::AuthRefused => AUTH_REFUSED,
        MessageKind::KeyUnusable => KEY_UNUSABLE,
        MessageKind::LibvirtAbsent => LIBVIRT_ABSENT,
        MessageKind::Denied => DENIED,
        MessageKind::PoolMissing => POOL_MISSING,
        MessageKind::PoolInactive => POOL_INACTIVE,
        MessageKind::NoSpace => NO_SPACE,
        MessageKind::NetworkMissing => NETWORK_MISSING,
        MessageKind::NetworkInactive => NETWORK_INACTIVE,
        MessageKind::Missing => MISSING,
        MessageKind::Exists => NOT_OURS,
        MessageKind::Rejected => REJECTED,
        MessageKind::WrongState => WRONG_STATE,
        MessageKind::OtherMachine => OTHER_MACHINE,
        MessageKind::Replaced => FILE_REPLACED,
        MessageKind::Other => HOST_ERROR,
    }
}

/// Codes that say that no call on the host can succeed.
const HOST_DOWN: [(Code, PortErrorKind); 3] = [
    (UNREACHABLE, PortErrorKind::Unreachable),
    (TIMEOUT, PortErrorKind::Timeout),
    (LIBVIRT_ABSENT, PortErrorKind::LibvirtAbsent),
];

/// Whether the failure says that no call on its host can succeed.
pub fn is_host_down(failure: &Failure) -> bool {
    let code = failure.code.as_str();
    HOST_DOWN.iter().any(|(down, _)| down.code == code)
}

/// The failure as a port error, if it says that no call on its host can succeed.
pub fn host_down(failure: &Failure) -> Option<PortError> {
    let code = failure.code.as_str();
    let (_, kind) = HOST_DOWN.iter().find(|(down, _)| down.code == code)?;
    let [host, message] = [&failure.host, &failure.message].map(Text::as_str);
    Some(PortError::new(*kind, host, "", message))
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        of_port(error.kind)
            .failure(&error.message)
            .on_host(&error.host)
            .of_object(&error.object)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let code = match error.kind {
            SourceErrorKind::Transient => SOURCE_UNREACHABLE,
            SourceErrorKind::NotFound => SOURCE_MISSING,
            SourceErrorKind::Forbidden => SOURCE_FORBIDDEN,
            SourceErrorKind::Invalid
            | SourceErrorKind::Page
            | SourceErrorKind::Empty
            | SourceErrorKind::Packed
            | SourceErrorKind::Greedy
            | SourceErrorKind::Followed
            | SourceErrorKind::Encoded
            | SourceErrorKind::Untrusted
            | SourceErrorKind::Redirected => SOURCE_INVALID,
            SourceErrorKind::Refused => SOURCE_REFUSED,
            SourceErrorKind::TooLarge => SOURCE_TOO_LARGE,
            SourceErrorKind::Mismatch => SOURCE_MISMATCH,
            SourceErrorKind::Appliance => SOURCE_APPLIANCE,
            SourceErrorKind::Changed => SOURCE_CHANGED,
            SourceErrorKind::Awaited => SOURCE_AWAITED,
        };
        let failure = code.failure(&error.message).of_object(&error.url);
        match remedy_of(error.kind) {
            Some(remedy) => failure.with_remedy(remedy),
            None => failure,
        }
    }
}

/// The remedy for a source that is invalid, by its cause.
fn remedy_of(kind: SourceErrorKind) -> Option<&'static str> {
    Some(match kind {
        SourceErrorKind::Page => {
            "Correct `imageURL`: it must lead to the image file itself, not to a page about it."
        }
        SourceErrorKind::Empty => {
            "Copy the image to its source again: the file there is empty; then `vsiflow retry`."
        }
        SourceErrorKind::Packed => {
            "Copy the file to its source again from where it was packed, or provide the image unpacked; then \
             `vsiflow retry`."
        }
        SourceErrorKind::Greedy => {
            "Pack the image as the message says, or provide it unpacked; then `vsiflow retry`. Another copy of \
             this file needs as much."
        }
        SourceErrorKind::Followed => {
            "Unpack the image where it is, remove what follows it, and provide the result; then `vsiflow retry`."
        }
        SourceErrorKind::Encoded => {
            "Have the server send the whole file as it is, with status 200 and without Content-Encoding, or name \
             another server; then `vsiflow retry`."
        }
        SourceErrorKind::Untrusted => {
            "Give the certificate of the server's authority with IMAGE_CA in the host's settings, or renew the \
             server's certificate; then `vsiflow retry`."
        }
        SourceErrorKind::Redirected => {
            "Write into `imageURL` where the image is, or correct the server's redirects; then `vsiflow retry`."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../docs/reference/errors.md");

    #[test]
    fn each_cause_of_an_invalid_source_has_its_own_remedy() {
        let remedy = |kind| {
            let (url, message) = (String::new(), "x".to_owned());
            Failure::from(SourceError { kind, url, message }).remedy
        };
        let kinds = [
            SourceErrorKind::Invalid,
            SourceErrorKind::Page,
            SourceErrorKind::Empty,
            SourceErrorKind::Packed,
            SourceErrorKind::Greedy,
            SourceErrorKind::Followed,
            SourceErrorKind::Encoded,
            SourceErrorKind::Untrusted,
            SourceErrorKind::Redirected,
        ];
        let remedies: std::collections::BTreeSet<_> =
            kinds.iter().map(|kind| remedy(*kind).to_string()).collect();
        assert_eq!(remedies.len(), kinds.len());
        let pages = |text: &&String| text.contains("not to a page");
        assert_eq!(remedies.iter().filter(pages).count(), 1);
    }

    #[test]
    fn every_code_is_documented_with_its_class_and_remedy() {
        for code in ALL.iter().chain(OTHER_CAUSES) {
            let start = format!("| {} |", code.code);
            let line = DOCS.lines().find(|line| line.starts_with(&start));
            let line =
                line.unwrap_or_else(|| panic!("{} is not in docs/reference/errors.md", code.code));
            let class = format!("| {} |", format!("{:?}", code.class).to_lowercase());
            assert!(line.contains(&class), "{line} should say {class}");
            assert!(
                line.contains(code.remedy),
                "{line} should say {:?}",
                code.remedy
            );
        }
    }

    #[test]
    fn codes_are_unique_and_remedies_are_one_sentence() {
        let unique: std::collections::BTreeSet<_> = ALL.iter().map(|code| code.code).collect();
        assert_eq!(unique.len(), ALL.len());
        for code in ALL.iter().chain(OTHER_CAUSES) {
            assert!(
                code.remedy.ends_with('.') && !code.remedy.contains(". "),
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_port_error_keeps_host_object_and_words() {
        let error = PortError::new(
            PortErrorKind::NoSpace,
            "h1",
            "volume images/a",
            "disk is full",
        );
        let failure = Failure::from(error);
        assert_eq!(failure.class, FailureClass::Recheck);
        assert_eq!(
            failure.to_string(),
            "VSI0203: disk is full (volume images/a) [host h1]"
        );
    }
}
