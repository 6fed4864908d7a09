//! Puts faults back into the product, one after the other, and says which seed catches each.

use anyhow::{Result, bail};

use super::FuzzArgs;
use super::case::Case;
use super::drive::{self, Outcome};
use super::supervise::{Ended, supervise};

/// The faults that can be put back, by name. None yet: the product has no switches for them.
pub(super) const FAULTS: &[&str] = &[];

/// Runs CI's seeds with each fault until one is caught.
///
/// # Errors
/// Where a fault is not caught.
pub(super) fn check(args: &FuzzArgs) -> Result<()> {
    let mut missed = Vec::new();
    for fault in FAULTS {
        let args = FuzzArgs { fault: Some((*fault).to_owned()), keep_going: false, no_shrink: true, ..args.clone() };
        match supervise(&args)? {
            Ended::Well => missed.push(*fault),
            Ended::Failed { seed } => println!("{fault}: caught by seed {seed}"),
            Ended::Died { seed, how } => println!("{fault}: caught by seed {seed}, {how}"),
        }
    }
    println!("{} faults caught, {} missed", FAULTS.len() - missed.len(), missed.len());
    if missed.is_empty() { Ok(()) } else { bail!("not caught: {}", missed.join(", ")) }
}

/// Runs `case` with the fault of this name switched on, if one is named.
pub(super) fn run(fault: Option<&str>, case: &Case) -> Outcome {
    debug_assert!(fault.is_none_or(|fault| FAULTS.contains(&fault)), "{fault:?} is not known");
    drive::run(case)
}
