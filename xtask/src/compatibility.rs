//! `cargo xtask compatibility`: reads from servers that break rules, by every way to read, mode and client, and
//! compares with the bare client.
//!
//! A cell fails if our layers return wrong bytes or an error that the bare client does not have, need more than twice
//! its requests plus one a read, or more than 1.5 times its time plus a second, panic or hang. Time is virtual.
//! Intended differences are listed in `exceptions.rs`. `docs/compatibility.md` is written from the same tables.

pub(crate) mod access;
mod cell;
mod client;
mod document;
mod exceptions;

use std::{collections::BTreeMap, panic, sync::Mutex};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use headstart_sim::hostile::behaviours::{self, Behaviour, Sizes};
use tokio::time::Instant;

use access::{Access, Pieces};
use cell::{CellFault, CellRecord, MatrixCell};
use client::{ClientKind, Mode};
use exceptions::Exception;

use crate::threads::{cores, on_threads};

/// Which cells to try.
#[derive(Debug, Default, Args)]
pub(crate) struct CompatibilityArgs {
    /// Only these behaviours; default: all
    #[arg(value_name = "BEHAVIOUR")]
    behaviours: Vec<String>,
    /// Only this mode
    #[arg(long)]
    mode: Option<Mode>,
    /// Only this client
    #[arg(long)]
    client: Option<ClientKind>,
    /// Only this way to read
    #[arg(long)]
    access: Option<Access>,
    /// Show every cell, and each request if few cells are chosen
    #[arg(long)]
    verbose: bool,
    /// Write docs/compatibility.md
    #[arg(long)]
    write: bool,
}

/// Sizes of the object: small enough for one request, and large enough for several parts.
const SMALL_BYTES: u64 = 1000;
const LARGE_BYTES: u64 = 12 << 20;

/// A behaviour, client and size: the unit of work of a thread.
type MatrixJob = (&'static Behaviour, ClientKind, u64);

/// Runs the matrix and prints failed cells. Fails if there are any.
pub(crate) fn run(args: &CompatibilityArgs) -> Result<()> {
    if args.write {
        return document::write();
    }
    document::check()?;
    let started = Instant::now();
    for name in &args.behaviours {
        if !behaviours::ALL.iter().any(|behaviour| behaviour.name == name) {
            let names: Vec<_> = behaviours::ALL.iter().map(|behaviour| behaviour.name).collect();
            bail!("there is no behaviour '{name}'; there are {}", names.join(", "));
        }
    }
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| cell::note_panic()));
    let outcomes = on_threads(cores(), jobs(args), |job| Ok(run_job(job, args)));
    panic::set_hook(hook);
    let outcomes: Vec<_> = outcomes?.into_iter().flatten().collect();
    let took = started.elapsed().as_secs_f64();
    report(&outcomes, args, took)
}

fn jobs(args: &CompatibilityArgs) -> Vec<MatrixJob> {
    let is_chosen = |name: &str| args.behaviours.is_empty() || args.behaviours.iter().any(|chosen| chosen == name);
    let mut jobs = Vec::new();
    for behaviour in behaviours::ALL.iter().filter(|behaviour| is_chosen(behaviour.name)) {
        let sizes = if behaviour.sizes == Sizes::All { &[SMALL_BYTES, LARGE_BYTES][..] } else { &[SMALL_BYTES] };
        jobs.extend(
            chosen(args.client).into_iter().flat_map(|client| sizes.iter().map(move |size| (behaviour, client, *size))),
        );
    }
    jobs
}

/// The value that the command line names, or all.
fn chosen<T: ValueEnum + Copy + 'static>(only: Option<T>) -> Vec<T> {
    only.map_or_else(|| T::value_variants().to_vec(), |only| vec![only])
}

/// A cell, the records of the bare client and of our layers, and what is wrong.
struct CellOutcome {
    cell: MatrixCell,
    raw: CellRecord,
    ours: CellRecord,
    faults: Vec<CellFault>,
}

fn run_job(job: MatrixJob, args: &CompatibilityArgs) -> Vec<CellOutcome> {
    let (behaviour, client, size) = job;
    let mut outcomes = Vec::new();
    for access in chosen(args.access) {
        let raw = cell::run_cell(job, access, None);
        for mode in chosen(args.mode) {
            let ours = cell::run_cell(job, access, Some(mode));
            let usual = if size > SMALL_BYTES { usual_requests(client, access, mode) } else { 0 };
            let faults = cell::compare(&raw, &ours, usual);
            let cell = MatrixCell { behaviour: behaviour.name, client, size, access, mode };
            outcomes.push(CellOutcome { cell, raw: raw.clone(), ours, faults });
        }
    }
    outcomes
}

/// The requests that a large object takes from a correct server, where our layers read it in parts.
fn usual_requests(client: ClientKind, access: Access, mode: Mode) -> usize {
    static KNOWN: Mutex<BTreeMap<(ClientKind, Access, Mode), usize>> = Mutex::new(BTreeMap::new());
    let known = KNOWN.lock().expect("no thread panics with it").get(&(client, access, mode)).copied();
    known.unwrap_or_else(|| {
        let requests = cell::run_cell((behaviours::CORRECT, client, LARGE_BYTES), access, Some(mode)).requests.len();
        KNOWN.lock().expect("no thread panics with it").insert((client, access, mode), requests);
        requests
    })
}

fn report(outcomes: &[CellOutcome], args: &CompatibilityArgs, took: f64) -> Result<()> {
    let mut unexplained = BTreeMap::<&str, usize>::new();
    let (mut explained, mut failed) = (0, 0);
    let mut used = vec![false; exceptions::ALL.len()];
    for CellOutcome { cell, raw, ours, faults } in outcomes {
        let open: Vec<_> = faults.iter().filter(|fault| !exceptions::explains(cell, **fault, &mut used)).collect();
        explained += usize::from(open.is_empty() && !faults.is_empty());
        if !open.is_empty() {
            failed += 1;
            *unexplained.entry(cell.behaviour).or_default() += 1;
        }
        if args.verbose || !open.is_empty() {
            let verdict = if faults.is_empty() { "ok".to_owned() } else { format!("{faults:?}") };
            println!("{cell}: {verdict}\n    raw  {raw}\n    ours {ours}");
            if args.verbose && outcomes.len() <= 8 {
                println!("{}", ours.requests_told());
            }
        }
    }
    let everything = args.behaviours.is_empty() && (args.mode, args.client, args.access) == (None, None, None);
    let unused: Vec<_> = exceptions::ALL.iter().zip(used).filter(|(_, used)| !used).map(|(one, _)| one).collect();
    println!(
        "compatibility: {} cells of {} behaviours in {took:.1} s: {failed} failed, {explained} as excepted",
        outcomes.len(),
        behaviours::ALL.len(),
    );
    ensure!(!everything || unused.is_empty(), "these exceptions except nothing any more, remove them: {unused:#?}");
    ensure!(failed == 0, "{failed} cells failed: {unexplained:#?}");
    Ok(())
}
