//! What the runs of `bench` mean: which offsets are read, and the figures in a sentence.

use serde::Serialize;

use super::text;

/// The fewest bytes of a run that others are compared with.
const LEAST_COMPARED: u64 = 64 << 10;

/// The layers that a run reads through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BenchMode {
    /// The bare client.
    Raw,
    Fetch,
    Adaptive,
    Cached,
}

/// How a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BenchPattern {
    /// One call for the whole object, streamed.
    Stream,
    /// One reader, by 1 MiB.
    Sequential,
    /// Reads of 64 KiB at random offsets, one after the other.
    Random,
    /// The bytes of the sequential run, once more.
    Again,
}

impl BenchMode {
    pub(crate) const ALL: [Self; 4] = [Self::Raw, Self::Fetch, Self::Adaptive, Self::Cached];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Fetch => "fetch",
            Self::Adaptive => "adaptive",
            Self::Cached => "cached",
        }
    }
}

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct BenchFigures {
    pub(crate) mode: BenchMode,
    pub(crate) pattern: BenchPattern,
    pub(crate) seconds: f64,
    /// Bytes that the reader got.
    pub(crate) read_bytes: u64,
    /// Bytes that came from the store.
    pub(crate) fetched_bytes: u64,
    pub(crate) gets: u64,
    pub(crate) first_byte_ms: f64,
}

impl BenchFigures {
    pub(crate) fn bytes_per_s(&self) -> f64 {
        self.read_bytes as f64 / self.seconds.max(1e-6)
    }
}

/// Random offsets of ranges of `length` bytes in an object of `size` bytes, at multiples of the length, none twice.
/// The same for the same seed. From splitmix64.
pub(crate) fn offsets(seed: u64, size: u64, length: u64, count: usize) -> Vec<u64> {
    let places = size / length;
    let mut chosen = std::collections::BTreeSet::new();
    let mut offsets = Vec::new();
    let mut state = seed;
    while offsets.len() < count.min(usize::try_from(places).unwrap_or(usize::MAX)) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let place = (mixed ^ (mixed >> 31)) % places;
        if chosen.insert(place) {
            offsets.push(place * length);
        }
    }
    offsets
}

fn find(runs: &[BenchFigures], mode: BenchMode, pattern: BenchPattern) -> Option<&BenchFigures> {
    runs.iter().find(|run| run.mode == mode && run.pattern == pattern)
}

/// One row a mode, one column a pattern, in MB/s.
pub(crate) fn table(runs: &[BenchFigures]) -> String {
    let header = ["MB/s", "streamed", "by 1 MiB", "random 64 KiB", "read again", "GETs", "first byte"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for mode in BenchMode::ALL {
        let rate = |pattern| {
            let run = find(runs, mode, pattern);
            run.map_or("–".to_owned(), |run| text::digits(run.bytes_per_s() / 1e6))
        };
        let patterns = [BenchPattern::Stream, BenchPattern::Sequential, BenchPattern::Random, BenchPattern::Again];
        let gets: u64 = runs.iter().filter(|run| run.mode == mode).map(|run| run.gets).sum();
        let first = find(runs, mode, BenchPattern::Sequential);
        let first = first.map(|run| format!("{} ms", text::digits(run.first_byte_ms))).unwrap_or_default();
        let rates = patterns.map(rate);
        rows.push([vec![mode.name().to_owned()], rates.to_vec(), vec![text::count(gets), first]].concat());
    }
    text::table(&rows, &[false, true, true, true, true, true, true])
}

/// What the figures mean, in sentences.
pub(crate) fn sentences(runs: &[BenchFigures]) -> Vec<String> {
    let gain = |pattern, mode| {
        let (with, without) = (find(runs, mode, pattern)?, find(runs, BenchMode::Raw, pattern)?);
        // A store that is too slow to be measured gives no figure to compare with.
        (without.read_bytes >= LEAST_COMPARED).then(|| with.bytes_per_s() / without.bytes_per_s())
    };
    let times = |gain: f64| format!("{} times as fast as", text::digits(gain));
    let mut said = Vec::new();
    if let Some(gain) = gain(BenchPattern::Sequential, BenchMode::Adaptive) {
        said.push(match gain {
            gain if gain >= 1.2 => {
                format!("Reading on by 1 MiB, mode=adaptive (the default) is {} the bare client.", times(gain))
            }
            _ => "Reading on by 1 MiB, no mode is much faster than the bare client: one stream fills this link."
                .to_owned(),
        });
    }
    if let Some(gain) = gain(BenchPattern::Stream, BenchMode::Fetch).filter(|gain| *gain >= 1.2) {
        said.push(format!("Streamed whole, mode=fetch is {} one GET.", times(gain)));
    }
    if let Some(gain) = gain(BenchPattern::Random, BenchMode::Adaptive) {
        said.push(format!(
            "Random reads are {} the bare client's: they wait for the store's first byte, which only a cache avoids.",
            times(gain)
        ));
    }
    let again = find(runs, BenchMode::Cached, BenchPattern::Again);
    if let (Some(again), Some(first)) = (again, find(runs, BenchMode::Raw, BenchPattern::Sequential)) {
        let gain = again.bytes_per_s() / first.bytes_per_s().max(1.0);
        let fetched = text::size(again.fetched_bytes);
        said.push(format!("Read again, mode=cached is {} the bare client, and fetches {fetched}.", times(gain)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: BenchMode, pattern: BenchPattern, mb_per_s: u64) -> BenchFigures {
        let read_bytes = mb_per_s * 1_000_000;
        let (seconds, first_byte_ms) = (1.0, 30.0);
        BenchFigures { mode, pattern, seconds, read_bytes, fetched_bytes: read_bytes, gets: 10, first_byte_ms }
    }

    #[test]
    fn offsets_are_those_of_the_seed_and_none_comes_twice() {
        let some = offsets(1, 100 << 20, 64 << 10, 200);
        assert_eq!((some.len(), &some), (200, &offsets(1, 100 << 20, 64 << 10, 200)));
        assert_ne!(some, offsets(2, 100 << 20, 64 << 10, 200));
        let distinct: std::collections::BTreeSet<_> = some.iter().collect();
        assert!(distinct.len() == 200 && some.iter().all(|at| at % (64 << 10) == 0 && at + (64 << 10) <= 100 << 20));
        assert_eq!(offsets(1, 130 << 10, 64 << 10, 200).len(), 2);
        assert_eq!(offsets(1, 10, 64 << 10, 200), [0; 0]);
    }

    #[test]
    fn the_figures_become_a_table_and_sentences() {
        let runs = [
            run(BenchMode::Raw, BenchPattern::Sequential, 20),
            run(BenchMode::Raw, BenchPattern::Random, 2),
            run(BenchMode::Adaptive, BenchPattern::Sequential, 640),
            run(BenchMode::Adaptive, BenchPattern::Random, 2),
            run(BenchMode::Cached, BenchPattern::Again, 4000),
        ];
        let said = sentences(&runs).join("\n");
        for expected in
            ["is 32 times as fast as the bare client.", "Random reads are 1 times", "mode=cached is 200 times"]
        {
            assert!(said.contains(expected), "{said}");
        }
        let slow =
            [run(BenchMode::Raw, BenchPattern::Sequential, 20), run(BenchMode::Adaptive, BenchPattern::Sequential, 21)];
        assert!(sentences(&slow)[0].contains("one stream fills this link"));
        let nothing = [run(BenchMode::Raw, BenchPattern::Stream, 0), run(BenchMode::Fetch, BenchPattern::Stream, 50)];
        assert_eq!(sentences(&nothing), [""; 0]);
        assert!(table(&runs).lines().nth(3).is_some_and(|row| row.starts_with("adaptive") && row.contains("640")));
    }
}
