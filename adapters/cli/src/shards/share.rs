//! How many journals are a process's share.

/// The share of the process that `rank` others came before, of `living` processes. All shares together
/// are all journals, and no two differ by more than one; who came first has the larger one, so that
/// who comes later moves as little as can be.
pub(super) fn of(journals: u16, rank: usize, living: usize) -> usize {
    let (journals, living) = (usize::from(journals), living.max(1));
    let least = journals.checked_div(living).unwrap_or_default();
    let over = journals.checked_rem(living).unwrap_or_default();
    least.saturating_add(usize::from(rank < over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_all_of_it() {
        for journals in 1..=64_u16 {
            for living in 1..=70 {
                let shares: Vec<_> = (0..living).map(|rank| of(journals, rank, living)).collect();
                assert_eq!(shares.iter().sum::<usize>(), usize::from(journals));
                let (most, least) = (shares.iter().max(), shares.iter().min());
                assert!(most.unwrap() - least.unwrap() <= 1, "{journals} {living}");
                assert!(shares.is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
