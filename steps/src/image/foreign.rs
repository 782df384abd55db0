//! The marks of files that are no disks, and how they become some.

/// A format of files that are no disks to boot from.
pub(super) struct ForeignFormat {
    /// What such a file is, and how a disk comes out of it.
    pub(super) name: &'static str,
    /// The marks of such files, with their positions in bytes.
    pub(super) marks: &'static [(usize, &'static [u8])],
}

impl ForeignFormat {
    /// Whether a file begins like this.
    pub(super) fn has_mark(&self, head: &[u8]) -> bool {
        let mut marks = self.marks.iter();
        marks.any(|(at, mark)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)))
    }
}

/// The formats that are read only where they are a file of their own, and no part of another.
pub(super) const PACKED_DISKS: &[ForeignFormat] = &[
    ForeignFormat {
        name: "a VMDK",
        marks: &[(0, b"KDMV")],
    },
    ForeignFormat {
        name: "a VHDX",
        marks: &[(0, b"vhdxfile")],
    },
];

/// The formats that guests cannot boot from. The first one that has a mark of the file is its format.
pub(super) const FORMATS: &[ForeignFormat] = &[
    ForeignFormat {
        name: "a VMDK image",
        marks: &[(0, b"COWD"), (0, b"\xbe\xba\xfe\xca\0\0\0\0")],
    },
    ForeignFormat {
        name: "a VMDK description",
        marks: &[(0, b"# Disk DescriptorFile")],
    },
    ForeignFormat {
        name: "a VHD image",
        marks: &[(0, VHD)],
    },
    ForeignFormat {
        name: "a VDI image",
        marks: &[(0, b"<<< "), (64, b"\x7f\x10\xda\xbe")],
    },
    ForeignFormat {
        name: "a QED image",
        marks: &[(0, b"QED\0")],
    },
    ForeignFormat {
        name: "a Bochs image",
        marks: &[(0, b"Bochs Virtual HD Image")],
    },
    ForeignFormat {
        name: "a Parallels image",
        marks: &[(0, b"WithoutFreeSpace"), (0, b"WithouFreSpacExt")],
    },
    ForeignFormat {
        name: "a WIM archive: unpack the disk from it",
        marks: &[(0, b"MSWIM\0\0\0"), (0, b"WLPWM\0\0\0")],
    },
    ForeignFormat {
        name: "compressed by gzip: unpack it",
        marks: &[(0, b"\x1f\x8b")],
    },
    ForeignFormat {
        name: "compressed by compress: unpack it",
        marks: &[(0, b"\x1f\x9d"), (0, b"\x1f\xa0")],
    },
    ForeignFormat {
        name: "compressed by xz: unpack it",
        marks: &[(0, b"\xfd7zXZ\0")],
    },
    ForeignFormat {
        name: "compressed by lzma: unpack it",
        marks: &[
            (0, b"\x5d\0\0\x04\0"),
            (0, b"\x5d\0\0\x10\0"),
            (0, b"\x5d\0\0\x20\0"),
            (0, b"\x5d\0\0\x80\0"),
            (0, b"\x5d\0\0\x40\0"),
            (0, b"\x5d\0\0\0\x01"),
            (0, b"\x5d\0\0\0\x02"),
            (0, b"\x5d\0\0\0\x04"),
        ],
    },
    ForeignFormat {
        name: "compressed by lzip: unpack it",
        marks: &[(0, b"LZIP")],
    },
    ForeignFormat {
        name: "compressed by lrzip: unpack it",
        marks: &[(0, b"LRZI")],
    },
    ForeignFormat {
        name: "compressed by bzip3: unpack it",
        marks: &[(0, b"BZ3v1")],
    },
    ForeignFormat {
        name: "compressed by zpaq: unpack it",
        marks: &[(0, b"zPQ"), (0, b"7kSt")],
    },
    ForeignFormat {
        name: "compressed by zstd: unpack it",
        marks: &[(0, b"\x28\xb5\x2f\xfd")],
    },
    ForeignFormat {
        name: "compressed by lz4: unpack it",
        marks: &[(0, b"\x04\x22\x4d\x18"), (0, b"\x02\x21\x4c\x18")],
    },
    ForeignFormat {
        name: "compressed by lzop: unpack it",
        marks: &[(0, b"\x89LZO\0\r\n\x1a\n")],
    },
    ForeignFormat {
        name: "compressed by snappy: unpack it",
        marks: &[(0, b"\xff\x06\0\0sNaPpY")],
    },
    ForeignFormat {
        name: "compressed by bzip2: unpack it",
        marks: &[(0, b"BZh")],
    },
    ForeignFormat {
        name: "compressed by zlib: unpack it",
        marks: &[
            (0, b"\x78\x01"),
            (0, b"\x78\x5e"),
            (0, b"\x78\x9c"),
            (0, b"\x78\xda"),
        ],
    },
    ForeignFormat {
        name: "a ZIP archive: unpack the disk from it",
        marks: &[(0, b"PK\x03\x04")],
    },
    ForeignFormat {
        name: "an empty ZIP archive",
        marks: &[(0, b"PK\x05\x06")],
    },
    ForeignFormat {
        name: "a part of a ZIP archive",
        marks: &[(0, b"PK\x07\x08")],
    },
    ForeignFormat {
        name: "a 7z archive: unpack the disk from it",
        marks: &[(0, b"7z\xbc\xaf\x27\x1c")],
    },
    ForeignFormat {
        name: "a RAR archive: unpack the disk from it",
        marks: &[(0, b"Rar!\x1a\x07")],
    },
    ForeignFormat {
        name: "a CAB archive: unpack the disk from it",
        marks: &[(0, b"MSCF\0\0\0\0"), (0, b"ISc(")],
    },
    ForeignFormat {
        name: "an ARJ archive: unpack the disk from it",
        marks: &[(0, b"\x60\xea")],
    },
    ForeignFormat {
        name: "an LHA archive: unpack the disk from it",
        marks: &[(2, b"-lh")],
    },
    ForeignFormat {
        name: "an ACE archive: unpack the disk from it",
        marks: &[(7, b"**ACE**")],
    },
    ForeignFormat {
        name: "a backup of Proxmox: unpack the disk from it with `vma extract`",
        marks: &[(0, b"VMA\0")],
    },
    ForeignFormat {
        name: "an image of partclone: restore it onto a disk first",
        marks: &[(0, b"partclone-image")],
    },
    ForeignFormat {
        name: "an image of partimage: restore it onto a disk first",
        marks: &[(0, b"PaRtImAgE-VoLuMe")],
    },
    ForeignFormat {
        name: "an archive of fsarchiver: restore it onto a disk first",
        marks: &[(0, b"FsArCh")],
    },
    ForeignFormat {
        name: "an EnCase image: export it as a raw disk",
        marks: &[
            (0, b"EVF\t\r\n\xff\0"),
            (0, b"EVF2\r\n\x81\0"),
            (0, b"LEF2\r\n\x81\0"),
            (0, b"LVF\t\r\n\xff\0"),
        ],
    },
    ForeignFormat {
        name: "an Android sparse image: unpack it with `simg2img`",
        marks: &[(0, b"\x3a\xff\x26\xed")],
    },
    ForeignFormat {
        name: "a stream of btrfs: restore it into a file system first",
        marks: &[(0, b"btrfs-stream\0")],
    },
    ForeignFormat {
        name: "a swap area",
        // At the end of a page, of which machines have different sizes.
        marks: &[
            (4086, b"SWAPSPACE2"),
            (8182, b"SWAPSPACE2"),
            (16_374, b"SWAPSPACE2"),
            (32_758, b"SWAPSPACE2"),
            (65_526, b"SWAPSPACE2"),
        ],
    },
    ForeignFormat {
        name: "the saved memory of a guest",
        marks: &[
            (0, b"LibvirtQemudSave"),
            (0, b"LibvirtQemudPart"),
            (0, b"QEVM"),
            (0, b"Xen saved domain"),
            (0, b"LinuxGuestRecord"),
            (0, b"\x7fVirtualBox SavedState"),
            (0, b"\xd2\xbe\xd2\xbe"),
        ],
    },
    ForeignFormat {
        name: "an installer or document of Windows",
        marks: &[(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")],
    },
    ForeignFormat {
        name: "a program or kernel",
        marks: &[(0, b"MZ")],
    },
    ForeignFormat {
        name: "a database",
        marks: &[(0, b"SQLite format 3\0")],
    },
    ForeignFormat {
        name: "a picture",
        marks: &[
            (0, b"\x89PNG\r\n\x1a\n"),
            (0, b"\xff\xd8\xff"),
            (0, b"GIF87a"),
            (0, b"GIF89a"),
            (0, b"BM"),
            (0, b"II*\0"),
            (0, b"MM\0*"),
            (0, b"8BPS\0\x01"),
            (0, b"gimp xcf "),
            (0, b"\0\0\0\x0cjP  \r\n\x87\n"),
            (0, b"\0\0\0\x0cJXL \r\n\x87\n"),
        ],
    },
    ForeignFormat {
        name: "a picture, a sound or a film",
        marks: &[
            (0, b"RIFF"),
            (0, b"RIFX"),
            (0, b"FORM"),
            (4, b"ftyp"),
            (0, b"\x1a\x45\xdf\xa3"),
            (0, b"OggS\0"),
            (0, b"fLaC"),
            (0, b"ID3"),
            (0, b"MThd\0\0\0\x06"),
            (0, b".snd"),
            (0, b"FLV\x01"),
            (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
            (0, b"\0\0\x01\xba"),
            (0, b"\0\0\x01\xb3"),
        ],
    },
    ForeignFormat {
        name: "a file of data or of a model",
        marks: &[
            (0, b"PAR1"),
            (0, b"ORC\x08"),
            (0, b"ARROW1\0\0"),
            (0, b"Obj\x01"),
            (0, b"\x89HDF\r\n\x1a\n"),
            (512, b"\x89HDF\r\n\x1a\n"),
            (0, b"CDF\x01"),
            (0, b"CDF\x02"),
            (0, b"\x93NUMPY"),
            (0, b"GGUF"),
        ],
    },
    ForeignFormat {
        name: "captured traffic of a network",
        marks: &[
            (0, b"\xd4\xc3\xb2\xa1"),
            (0, b"\xa1\xb2\xc3\xd4"),
            (0, b"\x4d\x3c\xb2\xa1"),
            (0, b"\x0a\x0d\x0d\x0a"),
        ],
    },
    ForeignFormat {
        name: "the answer of a web server with its head: store its content alone",
        marks: &[(0, b"HTTP/")],
    },
    ForeignFormat {
        name: "a font",
        marks: &[
            (0, b"wOFF"),
            (0, b"wOF2"),
            (0, b"OTTO\0"),
            (0, b"ttcf\0"),
            (0, b"\0\x01\0\0\0\x0c"),
        ],
    },
    ForeignFormat {
        name: "a part of a repository of git",
        marks: &[
            (0, b"PACK\0\0\0"),
            (0, b"DIRC\0\0\0"),
            (0, b"# v2 git bundle"),
        ],
    },
    ForeignFormat {
        name: "a XAR archive: unpack the disk from it",
        marks: &[(0, b"xar!")],
    },
    ForeignFormat {
        name: "an ar archive or a Debian package: unpack the disk from it",
        marks: &[(0, b"!<arch>\n")],
    },
    ForeignFormat {
        name: "an RPM package: unpack the disk from it",
        marks: &[(0, b"\xed\xab\xee\xdb")],
    },
    ForeignFormat {
        name: "a cpio archive: unpack the disk from it",
        marks: &[
            (0, b"070701"),
            (0, b"070702"),
            (0, b"070707"),
            (0, b"\xc7\x71"),
            (0, b"\x71\xc7"),
        ],
    },
    ForeignFormat {
        name: "a squashfs archive, which has no boot loader",
        marks: &[(0, b"hsqs"), (0, b"sqsh")],
    },
    ForeignFormat {
        name: "a program",
        marks: &[
            (0, b"\x7fELF"),
            (0, b"\xca\xfe\xba\xbe"),
            (0, b"\xcf\xfa\xed\xfe"),
            (0, b"\xce\xfa\xed\xfe"),
            (0, b"\0asm"),
            (0, b"dex\n"),
            (0, b"BC\xc0\xde"),
        ],
    },
    ForeignFormat {
        name: "a PDF or PostScript",
        marks: &[(0, b"%PDF-"), (0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6")],
    },
    ForeignFormat {
        name: "encrypted by openssl: decrypt it where it is",
        marks: &[(0, b"Salted__")],
    },
    ForeignFormat {
        name: "encrypted by age: decrypt it where it is",
        marks: &[(0, b"age-encryption.org/")],
    },
    ForeignFormat {
        name: "encrypted by GnuPG: decrypt it where it is",
        marks: &[
            (0, b"\x8c\x0d\x04"),
            (0, b"\x84\x5e\x03"),
            (0, b"\x85\x01\x0c\x03"),
            (0, b"\x85\x01\x8c\x03"),
            (0, b"\x85\x02\x0c\x03"),
        ],
    },
    ForeignFormat {
        name: "a COW image of an old QEMU: convert it with that QEMU",
        marks: &[(0, b"OOOM")],
    },
    ForeignFormat {
        name: "an ASIF image of Apple: convert it with `diskutil image create from`",
        marks: &[(0, b"shdw")],
    },
    ForeignFormat {
        name: "a sparse image of Apple: convert it with `hdiutil convert`",
        marks: &[(0, b"sprs")],
    },
    ForeignFormat {
        name: "an encrypted image of Apple: decrypt it with `hdiutil convert`",
        marks: &[(0, b"encrcdsa")],
    },
    ForeignFormat {
        name: "a difference of images from `rbd export-diff`: export the whole image with `rbd export`",
        marks: &[(0, b"rbd diff v")],
    },
    ForeignFormat {
        name: "an image from `rbd export --export-format 2`: export it with format 1",
        marks: &[(0, b"rbd image v")],
    },
    ForeignFormat {
        name: "a compressed loop image (cloop): unpack it with `extract_compressed_fs`",
        marks: &[(0, b"#!/bin/sh\n#V2.0 Format\n")],
    },
    ForeignFormat {
        name: "a script",
        marks: &[(0, b"#!")],
    },
    ForeignFormat {
        name: "an AFF image: export it as a raw disk with `affconvert -r`",
        marks: &[(0, b"AFF10\r\n\0"), (0, b"AFF\0")],
    },
    ForeignFormat {
        name: "an image of Ghost: restore it onto a disk first",
        marks: &[(0, b"\xfe\xef\x01")],
    },
    ForeignFormat {
        name: "a backup of Acronis: restore it onto a disk first",
        marks: &[(0, b"\xce\x24\xb9\xa2\x20\0\0\0")],
    },
    ForeignFormat {
        name: "an image of ntfsclone: restore it onto a disk first",
        marks: &[(0, b"\0ntfsclone-image")],
    },
    ForeignFormat {
        name: "a dump of XFS: restore it into a file system first",
        marks: &[(0, b"xFSdump0")],
    },
    ForeignFormat {
        name: "a backup of Windows: restore it onto a disk first",
        marks: &[(0, b"TAPE\0\0")],
    },
    ForeignFormat {
        name: "a stream of ZFS: restore it into a file system first",
        marks: &[
            (8, b"\xac\xcb\xba\xf5\x02\0\0\0"),
            (8, b"\0\0\0\x02\xf5\xba\xcb\xac"),
        ],
    },
    ForeignFormat {
        name: "a dump of ext: restore it into a file system first",
        marks: &[(24, b"\x6c\xea\0\0")],
    },
    ForeignFormat {
        name: "an update of Android or ChromeOS: unpack the disk from it",
        marks: &[(0, b"CrAU\0\0\0\0")],
    },
    ForeignFormat {
        name: "a boot image of Android",
        marks: &[(0, b"ANDROID!"), (0, b"VNDRBOOT")],
    },
    ForeignFormat {
        name: "a device tree or a FIT image",
        marks: &[(0, b"\xd0\x0d\xfe\xed")],
    },
    ForeignFormat {
        name: "an image of U-Boot",
        marks: &[(0, b"\x27\x05\x19\x56")],
    },
    ForeignFormat {
        name: "a cramfs archive, which has no boot loader",
        marks: &[
            (0, b"\x45\x3d\xcd\x28"),
            (0, b"\x28\xcd\x3d\x45"),
            (512, b"\x45\x3d\xcd\x28"),
        ],
    },
    ForeignFormat {
        name: "a romfs archive, which has no boot loader",
        marks: &[(0, b"-rom1fs-")],
    },
    ForeignFormat {
        name: "an image for flash memory (UBI)",
        marks: &[(0, b"UBI#")],
    },
    ForeignFormat {
        name: "an image for flash memory (UBIFS)",
        marks: &[(0, b"\x31\x18\x10\x06")],
    },
    ForeignFormat {
        name: "an image for flash memory (JFFS2)",
        marks: &[
            (0, b"\x85\x19\x01\xe0"),
            (0, b"\x85\x19\x02\xe0"),
            (0, b"\x85\x19\x03\x20"),
        ],
    },
    ForeignFormat {
        name: "a compressed image of a CD: unpack it",
        marks: &[(0, b"CISO"), (0, b"ZISO"), (0, b"IsZ!"), (0, b"DAA\0")],
    },
    ForeignFormat {
        name: "the description of a CD's image",
        marks: &[(0, b"MEDIA DESCRIPTOR")],
    },
    ForeignFormat {
        name: "an image of a CD with the codes of its sectors: convert it with `bchunk`",
        marks: &[(0, b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0")],
    },
    ForeignFormat {
        name: "a ZOO archive: unpack the disk from it",
        marks: &[(20, b"\xdc\xa7\xc4\xfd")],
    },
    ForeignFormat {
        name: "a StuffIt archive: unpack the disk from it",
        marks: &[(0, b"SIT!"), (0, b"StuffIt ")],
    },
    ForeignFormat {
        name: "an ALZ archive: unpack the disk from it",
        marks: &[(0, b"ALZ\x01")],
    },
    ForeignFormat {
        name: "an EGG archive: unpack the disk from it",
        marks: &[(0, b"EGGA")],
    },
    ForeignFormat {
        name: "an archive of Apple: unpack the disk from it",
        marks: &[(0, b"AA01"), (0, b"YAA1")],
    },
    ForeignFormat {
        name: "compressed by pbzx: unpack it",
        marks: &[(0, b"pbzx")],
    },
    ForeignFormat {
        name: "compressed by lzfse: unpack it",
        marks: &[(0, b"bvx-"), (0, b"bvx1"), (0, b"bvx2"), (0, b"bvxn")],
    },
    ForeignFormat {
        name: "compressed by rzip: unpack it",
        marks: &[(0, b"RZIP")],
    },
    ForeignFormat {
        name: "compressed by compress of Windows: unpack it",
        marks: &[(0, b"SZDD\x88\xf0\x27\x33")],
    },
    ForeignFormat {
        name: "compressed by zchunk: unpack it",
        marks: &[(0, b"\0ZCK1")],
    },
    ForeignFormat {
        name: "compressed by pack: unpack it",
        marks: &[(0, b"\x1f\x1e")],
    },
    ForeignFormat {
        name: "compressed by freeze: unpack it",
        marks: &[(0, b"\x1f\x9e"), (0, b"\x1f\x9f")],
    },
    ForeignFormat {
        name: "a memory dump of Windows",
        marks: &[(0, b"PAGEDU")],
    },
    ForeignFormat {
        name: "a memory dump",
        marks: &[(0, b"KDUMP   "), (0, b"EMiL")],
    },
    ForeignFormat {
        name: "a difference of files from xdelta: apply it where it is",
        marks: &[(0, b"\xd6\xc3\xc4")],
    },
    ForeignFormat {
        name: "a text",
        marks: &[(0, b"{")],
    },
    ForeignFormat {
        name: "a pointer of Git LFS",
        marks: &[(0, b"version https://git-lfs")],
    },
];

/// The marks of formats whose description is the last sector.
pub(super) const LAST_SECTOR: &[(&[u8], &str)] = &[
    (
        VHD,
        "a fixed VHD image: convert it with `qemu-img convert -f vpc -O qcow2`",
    ),
    (
        b"koly",
        "a DMG image: convert it with `qemu-img convert -f dmg -O qcow2`",
    ),
];

/// The mark of a VHD: at its begin, or, if it has a fixed size, only in its last sector.
const VHD: &[u8] = b"conectix";
