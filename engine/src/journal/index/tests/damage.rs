//! Arbitrary damage: an index always opens, and returns the written states or a reason.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{kill::copy_dir, *};

/// An index with a history, and its states as of each update that may be found.
struct WrittenIndex {
    place: IndexPlace,
    versions: Vec<States>,
}

impl WrittenIndex {
    fn new() -> Self {
        let place = IndexPlace::new();
        let mut versions = vec![place.fill(60)];
        for as_of in 1_000..1_012 {
            let update = update(as_of, [as_of % 60, as_of % 7, 59]);
            versions.push(after(versions.last().unwrap().clone(), &update));
            place.open().index.publish(update);
        }
        Self { place, versions }
    }

    fn check(&self, what: &str, found: &States) {
        let written = self
            .versions
            .iter()
            .find(|states| states.as_of == found.as_of);
        let written = written.unwrap_or_else(|| panic!("{what}: as of {}", found.as_of));
        assert!(
            by_stream(found) == by_stream(written),
            "{what}: other states than were written"
        );
    }

    /// Damages a copy as the seed determines; returns whether the copy was used nevertheless.
    fn survives(&self, seed: u64) -> bool {
        let place = IndexPlace::new();
        copy_dir(&self.place.dir, &place.dir);
        let mut random = StdRng::seed_from_u64(seed);
        let what = damage(&place.dir, &mut random);
        let read = random.random_ratio(1, 3).then(|| place.read());
        if let Some(Ok(found)) = read {
            self.check(&what, &found);
        }
        let opened = place.open();
        let used = opened.states.is_some();
        if let Some(found) = &opened.states {
            self.check(&what, found);
        }
        let other = fleet(3);
        opened.index.publish(all(&States {
            as_of: 5_000,
            link: link(5_000),
            ..other
        }));
        drop(opened.index);
        let again = place.open();
        assert!(
            used || again.states.is_some(),
            "seed {seed}, {what}: {:?}",
            again.rebuilt
        );
        used
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn damage(dir: &Path, random: &mut StdRng) -> String {
    let times = random.random_range(1..4);
    let done: Vec<String> = (0..times).map(|_| damage_once(dir, random)).collect();
    done.join(", ")
}

fn damage_once(dir: &Path, random: &mut StdRng) -> String {
    let files = files(dir);
    let Some(path) = files.choose(random) else {
        return "nothing is left".to_owned();
    };
    // Most of the index is in one file.
    let path = if random.random() {
        &dir.join("db")
    } else {
        path
    };
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return format!("{name} is gone");
    };
    let len = file.metadata().unwrap().len();
    let at = random.random_range(0..len.max(1));
    match random.random_range(0..8) {
        0 => {
            std::fs::remove_file(path).unwrap();
            format!("{name} removed")
        }
        1 => {
            file.set_len(at).unwrap();
            format!("{name} cut at {at}")
        }
        2 => {
            let mut noise = vec![0; random.random_range(0..70_000)];
            random.fill_bytes(&mut noise);
            std::fs::write(path, noise).unwrap();
            format!("{name} replaced by noise")
        }
        3 => {
            file.write_all_at(&vec![0; 4096], at / 4096 * 4096).unwrap();
            format!("{name}: a page of zeros at {at}")
        }
        4 => {
            let mut byte = [0];
            let _ = file.read_at(&mut byte, at);
            byte[0] ^= 1 << random.random_range(0..8);
            file.write_all_at(&byte, at).unwrap();
            format!("{name}: a bit at {at}")
        }
        5 => {
            // One page over another.
            let mut page = vec![0; 4096];
            let _ = file.read_at(&mut page, random.random_range(0..len.max(1)) / 4096 * 4096);
            file.write_all_at(&page, at / 4096 * 4096).unwrap();
            format!("{name}: another page at {at}")
        }
        6 => {
            file.set_len(len + random.random_range(1..100_000)).unwrap();
            format!("{name} made longer")
        }
        _ => {
            let mut noise = vec![0; random.random_range(1..5_000)];
            random.fill_bytes(&mut noise);
            file.write_all_at(&noise, at).unwrap();
            format!("{name}: noise at {at}")
        }
    }
}

fn damage_many(seeds: std::ops::Range<u64>) {
    let written = WrittenIndex::new();
    let count = seeds.end - seeds.start;
    let used = seeds.filter(|seed| written.survives(*seed)).count() as u64;
    println!("{used} of {count} were used all the same");
    assert!(used < count, "nothing was damaged");
}

#[test]
fn whatever_is_damaged_it_opens_and_gives_nothing_that_was_not_written() {
    damage_many(0..120);
}

#[test]
#[ignore = "long"]
fn whatever_is_damaged_it_opens_in_thousands_of_ways() {
    let from = std::env::var("VSIFLOW_SEED").map_or(1_000, |seed| seed.parse().unwrap());
    damage_many(from..from + 4_000);
}
