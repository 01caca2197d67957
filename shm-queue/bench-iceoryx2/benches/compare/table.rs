//! The table and the verdict: medians decide, minima and the ratio of each pair of rounds stand beside them.

use crate::rounds::Row;

/// Prints one line per case.
pub fn print(rows: &[Row], rounds: usize) {
    println!("\nns per message or round trip, {rounds} rounds of each in turns, two processes\n");
    println!("{:<30} {:>21} {:>21} {:>8}", "", "shm-queue", "iceoryx2", "ratio");
    println!(
        "{:<30} {:>12} {:>8} {:>12} {:>8} {:>8}",
        "", "median", "best", "median", "best", "median"
    );
    for row in rows {
        println!(
            "{:<30} {:>12.1} {:>8.1} {:>12.1} {:>8.1} {:>8.2}",
            row.case.name,
            median(&row.ours),
            best(&row.ours),
            median(&row.theirs),
            best(&row.theirs),
            ratio(row)
        );
    }
    println!();
}

/// Prints one line per target; true when all are met.
pub fn verdict(rows: &[Row]) -> bool {
    let mut all = true;
    let mut judge = |met: bool, text: String| {
        all &= met;
        println!("{} {text}", if met { "met   " } else { "MISSED" });
    };
    for row in rows {
        let figure = median(&row.ours);
        if let Some(below_ns) = row.case.below_ns {
            judge(
                figure < below_ns,
                format!("{}: {figure:.1} ns, wanted below {below_ns:.0} ns", row.case.name),
            );
        }
    }
    for row in rows {
        let ratio = ratio(row);
        judge(
            ratio <= 1.0,
            format!("{}: {ratio:.2} times iceoryx2's, wanted at most 1", row.case.name),
        );
    }
    all
}

/// The median of what each round gave against the round of iceoryx2 that ran right after it.
fn ratio(row: &Row) -> f64 {
    let ratios: Vec<f64> = row
        .ours
        .iter()
        .zip(&row.theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    median(&ratios)
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}
