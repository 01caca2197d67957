//! The statement as one page that needs nothing else, to read and to print.

use super::Statement;
use crate::table::Table;

const STYLE: &str = include_str!("page.css");

impl Statement {
    /// The page, as HTML.
    #[must_use]
    pub fn to_page(&self) -> String {
        let title = escaped(&self.title());
        let facts: String = self
            .facts()
            .iter()
            .map(|fact| format!("<p>{}</p>\n", escaped(fact)))
            .collect();
        let tables = [
            ("By sponsor", self.by_sponsor()),
            ("To users, by phase", self.by_phase()),
        ]
        .map(|(title, rows)| format!("<h2>{title}</h2>\n{}", table(&rows)))
        .concat();
        format!(
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width, initial-scale=1\"><title>{title}</title>\n\
             <style>\n{STYLE}</style></head><body><main>\n<h1>{title}</h1>\n{facts}{tables}\
             <footer><div>Date, name</div><div>Date, name</div></footer>\n</main></body></html>\n"
        )
    }
}

fn table(rows: &Table) -> String {
    let row = |(at, cells): (usize, &Vec<String>)| {
        let tag = if at == 0 { "th" } else { "td" };
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    format!(
        "<table>\n{}</table>\n",
        rows.iter().enumerate().map(row).collect::<String>()
    )
}

/// Text as it may stand between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
