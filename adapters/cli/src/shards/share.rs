//! Computes how many journals are a process's share.

/// The share of a process that `rank` others joined before, of `living` processes. All shares together are
/// all journals, and no two differ by more than one. Earlier processes have the larger shares, so that a
/// process that joins later moves as few journals as possible.
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
