//! The 22 queries of TPC-H with the parameters of its validation run.

use tpchgen::q_and_a::queries::query;

/// How many there are.
pub(crate) const QUERIES: usize = 22;

/// What stands for `:1`, `:2`, … in each query. For `FRACTION`, see [`statements`].
const PARAMETERS: [&[&str]; QUERIES] = [
    &["90"],
    &["15", "BRASS", "EUROPE"],
    &["BUILDING", "1995-03-15"],
    &["1993-07-01"],
    &["ASIA", "1994-01-01"],
    &["1994-01-01", "0.06", "24"],
    &["FRANCE", "GERMANY"],
    &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
    &["green"],
    &["1993-10-01"],
    &["GERMANY", "FRACTION"],
    &["MAIL", "SHIP", "1994-01-01"],
    &["special", "requests"],
    &["1995-09-01"],
    &["1996-01-01"],
    &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"],
    &["Brand#23", "MED BOX"],
    &["300"],
    &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
    &["forest", "1994-01-01", "CANADA"],
    &["SAUDI ARABIA"],
    &["13", "31", "23", "29", "30", "18", "17"],
];

/// How many of its first rows a query returns.
const LIMITS: [(usize, usize); 5] = [(2, 100), (3, 10), (10, 20), (18, 100), (21, 100)];

/// The statements of query `number`, from 1, one after the other. One of them returns rows.
pub(crate) fn statements(number: usize, scale: f64) -> Vec<String> {
    let text = query(i32::try_from(number).unwrap()).unwrap();
    // A number before the unit of an interval is not understood with a precision after it.
    let mut text = text.replace(" day (3)", " day").replace(":s", "0");
    // From the last one, because `:1` begins `:10`.
    for (nth, value) in PARAMETERS[number - 1].iter().enumerate().rev() {
        text = text.replace(&format!(":{}", nth + 1), value);
    }
    let mut text = text.replace("FRACTION", &format!("{:.10}", 0.0001 / scale));
    if let Some((_, rows)) = LIMITS.iter().find(|(limited, _)| *limited == number) {
        text = text.replace(';', &format!(" limit {rows};"));
    }
    text.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}
