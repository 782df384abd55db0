//! What the user of a group does in games, from documents and in a cluster alike.

use std::time::Duration;

use rand::Rng as _;

use super::{
    controller_game::{BROKEN, ControllerGame, LAG},
    group_model::{GroupDemand, GroupModel, REMOVED},
};

/// The longest time that a member is cordoned after its template was changed, in milliseconds.
const CORDONED_MS: u64 = 60_000;

/// A game of a group, as the user's acts need it.
pub(super) trait GroupActs: ControllerGame<Model = GroupModel> {
    /// Applies the document of a demand.
    async fn apply(&mut self, demand: GroupDemand) -> Result<(), String>;

    /// Cordons a member, or ends that.
    async fn cordon(&self, item: &str, number: u32, is_cordoned: bool) -> Result<(), String>;

    /// Waits until everything is as asked, while nothing fails.
    async fn settle_undisturbed(&mut self) -> Result<(), String>;

    /// A template whose guests never become ready is applied, and taken back later.
    async fn break_template(
        &mut self,
        mut demand: GroupDemand,
        item: &'static str,
    ) -> Result<(), String> {
        let working = demand.clone();
        demand.items.get_mut(item).unwrap().edition = BROKEN;
        self.apply(demand).await?;
        let minutes = self.random().random_range(0..40);
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
        self.apply(working).await
    }

    /// A member is cordoned for a while, in which its template is changed.
    async fn cordon_member(&mut self, item: &'static str) -> Result<(), String> {
        Box::pin(self.settle_undisturbed()).await?;
        let mut demand = self.model().lock().unwrap().demand();
        let item_demand = demand.items.get_mut(item).unwrap();
        if item == REMOVED || item_demand.replicas == 0 {
            return Ok(());
        }
        let number = self.random().random_range(0..item_demand.replicas);
        self.cordon(item, number, true).await?;
        self.model().lock().unwrap().cordon(item, number, true);
        // What began before is over.
        tokio::time::sleep(LAG + Duration::from_secs(5)).await;
        item_demand.edition = item_demand.edition % 4 + 1;
        self.apply(demand).await?;
        let cordoned = self.random().random_range(0..CORDONED_MS);
        tokio::time::sleep(Duration::from_millis(cordoned)).await;
        self.model().lock().unwrap().cordon(item, number, false);
        self.cordon(item, number, false).await
    }
}
