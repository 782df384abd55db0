use std::io;

use tokio::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(50);
const ALL: u32 = 144;
const OWN: u32 = ALL / 2;

/// A memory that no other test uses.
fn memory() -> &'static SharedMemory {
    keeping(0)
}

/// The same, with a part for owners who have none.
fn keeping(kept: u32) -> &'static SharedMemory {
    Box::leak(Box::new(SharedMemory::new("unpacking", ALL, kept)))
}

/// An unpacking, and the reader of its image.
fn unpacking(owner: &str) -> (Arc<Unpacking>, mpsc::Receiver<io::Result<bytes::Bytes>>) {
    let (to, from) = mpsc::channel(1);
    (Arc::new(Unpacking::new(owner.into(), to)), from)
}

/// Reserves memory for an owner whose image somebody reads.
async fn reserve(
    memory: &'static SharedMemory,
    owner: &str,
    mib: u32,
) -> Result<(ReservedMemory, Arc<Unpacking>), MemoryBusy> {
    let (unpacking, _reader) = unpacking(owner);
    let reserved = memory.reserve(&unpacking, u64::from(mib) * MIB).await?;
    Ok((reserved, unpacking))
}

#[tokio::test(start_paused = true)]
async fn all_images_together_use_no_more_than_there_is_and_wait_for_one_another() {
    let memory = memory();
    let (first, _) = reserve(memory, "a", OWN).await.unwrap();
    let _second = reserve(memory, "b", ALL - OWN - 4).await.unwrap();
    let _small = reserve(memory, "c", 4).await.unwrap();
    let waiting = tokio::spawn(reserve(memory, "d", 4));
    tokio::time::sleep(PATIENCE / 2).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_owner_leaves_half_of_the_memory_to_others() {
    let memory = memory();
    let mut own = Vec::new();
    for _ in 0..OWN / 8 {
        own.push(reserve(memory, "a", 8).await.unwrap());
    }
    // However many of one owner wait.
    let more: Vec<_> = (0..64)
        .map(|_| tokio::spawn(reserve(memory, "a", 8)))
        .collect();
    tokio::task::yield_now().await;
    let began = Instant::now();
    let other = reserve(memory, "b", OWN).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    for waiting in more {
        let refused = waiting.await.unwrap();
        assert!(matches!(refused, Err(MemoryBusy::Used { needed: 8, .. })));
    }
    drop((own, other));
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_any_waits_for_none_of_the_many_who_have_some() {
    let memory = keeping(24);
    let names: Vec<_> = (0..10).map(|number| format!("slow-{number}")).collect();
    let mut held = Vec::new();
    for name in &names {
        held.push(reserve(memory, name, 8).await.unwrap());
    }
    let more: Vec<_> = names
        .iter()
        .flat_map(|name| std::iter::repeat_n(name.clone(), 16))
        .map(|name| tokio::spawn(async move { reserve(memory, &name, 8).await }))
        .collect();
    tokio::time::sleep(PATIENCE / 2).await;
    let began = Instant::now();
    let other = reserve(memory, "honest", 8).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    more.iter().for_each(|waiting| waiting.abort());
    drop((held, other));
}

#[tokio::test(start_paused = true)]
async fn of_those_who_wait_the_owner_with_the_least_is_next() {
    let memory = memory();
    let (held, _) = reserve(memory, "a", OWN).await.unwrap();
    let _other = reserve(memory, "b", OWN - 8).await.unwrap();
    let own = reserve(memory, "c", 8).await.unwrap();
    let second = tokio::spawn(reserve(memory, "c", 60));
    tokio::task::yield_now().await;
    let first = tokio::spawn(reserve(memory, "d", 40));
    tokio::task::yield_now().await;
    drop(held);
    let _first = first.await.unwrap().unwrap();
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(own);
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_hardly_gets_on_ends_when_an_owner_without_memory_waits() {
    let memory = memory();
    let (_slow_memory, slow) = reserve(memory, "a", OWN).await.unwrap();
    let (_fast_memory, fast) = reserve(memory, "b", OWN).await.unwrap();
    // Slow archives keep their memory as long as nobody needs it.
    tokio::time::sleep(LONG).await;
    assert!(!slow.has_ended());
    let waiting = tokio::spawn(reserve(memory, "c", 8));
    for _ in 0..11 {
        slow.count(1_000);
        fast.count(1 << 20);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(slow.has_ended() && !fast.has_ended());
    assert!(slow.wait(std::future::pending::<()>()).is_err());
    drop(_slow_memory);
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_wait_for_memory_ends_when_nobody_reads_the_image_any_more() {
    let memory = memory();
    let _held = reserve(memory, "a", OWN).await.unwrap();
    let (unpacking, reader) = unpacking("a");
    let waiting = {
        let unpacking = unpacking.clone();
        tokio::task::spawn_blocking(move || unpacking.wait(memory.reserve(&unpacking, MIB)))
    };
    while memory.state().waiting.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(reader);
    let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(ended.unwrap().unwrap().is_err());
    assert!(memory.state().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_out_to_somebody_who_left_goes_to_the_next() {
    let memory = memory();
    let (first, _) = reserve(memory, "a", OWN).await.unwrap();
    let _second = reserve(memory, "b", OWN).await.unwrap();
    let leaves = tokio::spawn(reserve(memory, "c", OWN));
    tokio::task::yield_now().await;
    let stays = tokio::spawn(reserve(memory, "d", OWN));
    tokio::task::yield_now().await;
    // It is handed out before the one who waits can see it.
    drop(first);
    leaves.abort();
    assert!(leaves.await.is_err());
    assert!(stays.await.unwrap().is_ok());
    assert!(memory.state().waiting.is_empty());
}

/// Each of them was woken, and looked at all others, whenever one came or went.
#[tokio::test(start_paused = true)]
async fn of_thousands_who_wait_only_the_next_is_woken() {
    let memory = memory();
    let (first, _) = reserve(memory, "a", OWN).await.unwrap();
    let _second = reserve(memory, "b", OWN).await.unwrap();
    let waiting: Vec<_> = (0..2_000)
        .map(|number| {
            tokio::spawn(async move { reserve(memory, &format!("c-{number}"), OWN).await })
        })
        .collect();
    while memory.state().waiting.len() < 2_000 {
        tokio::task::yield_now().await;
    }
    drop(first);
    assert_eq!(memory.state().waiting.len(), 1_999);
    waiting.iter().for_each(|one| one.abort());
}
