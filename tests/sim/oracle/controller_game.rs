//! How games of a pool or a group are played, from documents and in a cluster.

use std::{sync::Mutex, time::Duration};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

/// Longer than any change takes, in virtual time.
pub(super) const SETTLES: Duration = Duration::from_secs(1_800);
/// How long after a command its predecessor may still show: what was begun for it ends in this time.
pub(super) const LAG: Duration = Duration::from_secs(45);
/// How long after its start a guest serves: it boots in 1.4 s, and started before it was first seen.
pub(super) const BOOTS: Duration = Duration::from_millis(1_250);
/// The edition whose guests never become ready.
pub(super) const BROKEN: u32 = 9;

/// The user-data of a member of this edition.
pub(super) fn user_data(edition: u32) -> String {
    let word = if edition == BROKEN {
        "lab-hang"
    } else {
        "good"
    };
    format!("#cloud-config\n# {word} {edition}\n")
}

/// A jump of the clock, years ahead or back, in milliseconds.
pub(super) fn drawn_jump_ms(random: &mut StdRng) -> i64 {
    let years = *[-2, 2].choose(random).unwrap();
    years * 365 * 24 * 3_600_000
}

/// What documents ask for, and what was seen.
pub(super) trait ControllerModel {
    /// What was seen that no document asks for, if anything.
    fn wrong(&self) -> Option<String>;

    /// Whether the end is as the newest document asks.
    fn verdict(&self) -> Result<(), String>;
}

/// A game that is being played.
pub(super) trait ControllerGame {
    type Model: ControllerModel;

    /// Applies the first documents.
    async fn begin(&mut self) -> Result<(), String>;

    /// Changes a document, or disturbs something.
    async fn act(&mut self) -> Result<(), String>;

    /// Waits until everything is as the newest document asks.
    async fn settle(&mut self) -> Result<(), String>;

    /// Nothing fails any more, and the newest document asks for what is possible.
    async fn calm(&mut self) -> Result<(), String>;

    fn random(&mut self) -> &mut StdRng;

    fn model(&self) -> &Mutex<Self::Model>;
}

/// Plays the game to its end.
pub(super) async fn play(game: &mut impl ControllerGame) -> Result<(), String> {
    game.begin().await?;
    game.settle().await?;
    for _ in 0..game.random().random_range(4..11) {
        game.act().await?;
        if game.random().random_bool(0.7) {
            game.settle().await?;
        } else {
            let wait = game.random().random_range(0..20_000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let wrong = game.model().lock().unwrap().wrong();
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
    game.calm().await?;
    game.settle().await?;
    // The observer has seen the last guest serve.
    tokio::time::sleep(Duration::from_secs(5)).await;
    game.model().lock().unwrap().verdict()
}
