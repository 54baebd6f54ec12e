//! The few shapes of which the chart is made. Colours are classes, so that they follow the reader's light or dark mode.

use std::fmt::Write;

/// A picture under way.
pub(super) struct Svg {
    size: (f64, f64),
    body: String,
}

impl Svg {
    pub(super) fn new(size: (f64, f64)) -> Self {
        Self {
            size,
            body: String::new(),
        }
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// A bar, with a hint for whoever points at it.
    pub(super) fn bar(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), hint: &str) {
        let (w, hint) = (w.max(0.0), escape(hint));
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}"><title>{hint}</title></rect>"#
        ));
    }

    /// A straight line.
    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A text; `anchor` is `start`, `middle` or `end`.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// The file.
    pub(super) fn finish(&self, title: &str) -> String {
        let ((w, h), title) = (self.size, escape(title));
        format!(
            "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" \
             height=\"{h}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"{w}\" height=\"{h}\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Text as it must stand in XML and HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(letter),
        }
    }
    out
}

const STYLE: &str = "
:root{--ground:#fff;--ink:#1b2330;--soft:#5b6675;--rule:#e3e7ec;--stock:#7d8896;--godwit:#1f6feb}
@media (prefers-color-scheme:dark){:root{--ground:#12161c;--ink:#e6eaf0;--soft:#9aa6b5;--rule:#2a323d;
--stock:#93a0b0;--godwit:#6ea8ff}}
.chart text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;fill:var(--soft)}
.chart text.ink{fill:var(--ink)}
.chart text.title{fill:var(--ink);font-weight:600;font-size:14px}
.chart .ground{fill:var(--ground)}
.chart .rule{stroke:var(--rule)}
.chart .range{stroke:var(--ink);stroke-opacity:.6}
.chart rect.stock{fill:var(--stock)}
.chart rect.godwit{fill:var(--godwit)}
";
