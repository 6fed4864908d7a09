//! Draws what is known about a process: panels where there is room, else a list of the most important rows.

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Row, Sparkline, Table, Widget};

use crate::policy::text;
use crate::policy::top::model::{TopModel, TopPoint, TopState};
use crate::policy::top::rows::{self, TopRow, TopSection};

/// The least size of a terminal for panels.
const PANELS: (u16, u16) = (80, 22);

/// Rows of the panels with a graph: at least, and at most.
const GRAPH_ROWS: (u16, u16) = (4, 9);

/// The width of names, with the space behind them.
const NAME_COLUMNS: usize = 12;

/// What stands above the figures.
pub(super) struct TopHeading {
    pub(super) address: String,
    pub(super) interval: Duration,
}

/// Draws everything that is known at `now`.
pub(super) fn top(frame: &mut Frame<'_>, model: &TopModel, heading: &TopHeading, now: Duration) {
    let (area, buffer) = (frame.area(), frame.buffer_mut());
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    head_line(model, heading).render(head, buffer);
    match area.width >= PANELS.0 && area.height >= PANELS.1 {
        true => panels(model, body, buffer),
        false => lines(&rows::by_importance(model.all())).render(body, buffer),
    }
    let state = model.state(now);
    if matches!(state, TopState::Silent(..)) {
        // What is shown is old.
        buffer.set_style(body, Style::new().dim());
    }
    foot_line(&state).render(foot, buffer);
}

fn head_line(model: &TopModel, heading: &TopHeading) -> Paragraph<'static> {
    let mut words = vec![" headstart top ".bold().reversed(), format!(" {}", heading.address).into()];
    words.push(format!(", every {}", text::time(heading.interval)).dim());
    if model.stacks().len() > 1 {
        words.push(format!(", {} stacks", model.stacks().len()).dim());
    }
    Paragraph::new(Line::from(words))
}

/// What is wrong, if something is, and how to end it.
fn foot_line(state: &TopState) -> Paragraph<'static> {
    let (said, is_bad) = rows::state_line(state);
    let said = match is_bad {
        true => Span::styled(format!(" {said} "), Style::new().fg(Color::Black).bg(Color::Yellow)),
        false => Span::from(format!(" {said}")).dim(),
    };
    let key = if said.content.trim().is_empty() { "q ends" } else { "  q ends" };
    Paragraph::new(Line::from(vec![said, key.dim()]))
}

fn panels(model: &TopModel, area: Rect, buffer: &mut Buffer) {
    let all = rows::rows(model.all());
    let of = |section| -> Vec<TopRow> { all.iter().filter(|row| row.section == section).cloned().collect() };
    let columns = [[TopSection::Requests, TopSection::Cache], [TopSection::ReadAhead, TopSection::Trouble]];
    let height = |rows: &[TopRow]| if rows.is_empty() { 0 } else { length(rows.len()) + 2 };
    let columns = columns.map(|column| column.map(|section| (section, of(section))));
    let body_rows = columns.iter().map(|column| column.iter().map(|(_, rows)| height(rows)).sum()).max().unwrap_or(0);
    let left = area.height.saturating_sub(body_rows);
    // Each stack, its columns and a border. The table gives way to the graphs.
    let stack_rows = match model.stacks().len() {
        0 | 1 => 0,
        stacks => (length(stacks) + 3).min(left.saturating_sub(GRAPH_ROWS.0)),
    };
    let stack_rows = if stack_rows < 4 { 0 } else { stack_rows };
    let graph_rows = left.saturating_sub(stack_rows).clamp(GRAPH_ROWS.0, GRAPH_ROWS.1);
    let [graphs, body, stacks] = Layout::vertical([
        Constraint::Length(graph_rows),
        Constraint::Length(body_rows),
        Constraint::Length(stack_rows),
    ])
    .areas(area);
    let halves = |area| Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas::<2>(area);
    let throughput = of(TopSection::Throughput);
    // Of a process without read-ahead there is one row.
    let columns_of_graphs = vec![Constraint::Fill(1); throughput.len()];
    for (area, row) in Layout::horizontal(columns_of_graphs).split(graphs).iter().zip(&throughput) {
        graph(model, row, *area, buffer);
    }
    for (area, column) in halves(body).into_iter().zip(columns) {
        let [(_, first), _] = &column;
        let heights = [Constraint::Length(height(first)), Constraint::Fill(1)];
        for (area, (section, rows)) in Layout::vertical(heights).areas::<2>(area).into_iter().zip(column) {
            if !rows.is_empty() {
                lines(&rows).block(panel(section.title().to_owned())).render(area, buffer);
            }
        }
    }
    if stack_rows > 0 {
        stack_table(model).render(stacks, buffer);
    }
}

fn panel(title: String) -> Block<'static> {
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().dim());
    block.title(Line::from(format!(" {title} ")).bold().not_dim()).padding(Padding::left(1))
}

/// A name, its rate and the rates of the latest polls, the newest at the right.
fn graph(model: &TopModel, row: &TopRow, area: Rect, buffer: &mut Buffer) {
    let is_delivered = row.name == "delivered";
    let value = |point: &TopPoint| if is_delivered { point.delivered } else { point.fetched };
    let block = panel(format!("{}  {}", row.name, row.value));
    let inner = block.inner(area);
    let width = usize::from(inner.width);
    let points: Vec<_> = model.points().collect();
    let shown = &points[points.len().saturating_sub(width)..];
    let most = shown.iter().filter_map(value).fold(0.0, f64::max);
    let block = match most > 0.0 {
        true => block.title_bottom(Line::from(format!(" at most {} ", rows::rate(most))).dim().right_aligned()),
        false => block,
    };
    let missing = std::iter::repeat_n(None, width.saturating_sub(shown.len()));
    let bars: Vec<Option<u64>> = missing.chain(shown.iter().map(|point| value(point).map(height_of_bar))).collect();
    let color = if is_delivered { Color::Green } else { Color::Cyan };
    block.render(area, buffer);
    Sparkline::default().data(bars).style(Style::new().fg(color)).render(inner, buffer);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive, and far below 2^64")]
fn height_of_bar(bytes_per_s: f64) -> u64 {
    bytes_per_s as u64
}

fn lines(rows: &[TopRow]) -> Paragraph<'static> {
    let line = |row: &TopRow| {
        let name = format!("{:<NAME_COLUMNS$}", row.name);
        let value = Span::from(row.value.clone());
        Line::from(vec![name.dim(), if row.is_alarming { value.yellow().bold() } else { value }])
    };
    Paragraph::new(rows.iter().map(line).collect::<Vec<_>>())
}

fn stack_table(model: &TopModel) -> Table<'static> {
    let stacks = model.stacks().iter().map(|(labels, figures)| Row::new(rows::stack_row(labels, figures)));
    let widths = [Constraint::Fill(1)].into_iter().chain([Constraint::Length(11); 5]);
    let header = Row::new(rows::STACK_COLUMNS).style(Style::new().dim());
    Table::new(stacks, widths).header(header).block(panel("Stacks".to_owned()))
}

fn length(rows: usize) -> u16 {
    u16::try_from(rows).unwrap_or(u16::MAX / 2)
}

#[cfg(test)]
mod tests;
