//! A small writer of SVG pictures. Colours are classes, so that a picture follows the reader's
//! light or dark mode, alone or inside the report's page.

use std::fmt::Write;

/// A picture under way.
#[derive(Debug, Clone)]
pub struct Svg {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

/// Where a text is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins there.
    Start,
    /// The text's middle is there.
    Middle,
    /// The text ends there.
    End,
}

impl Svg {
    /// An empty picture; the title is what a screen reader says.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        Self {
            width,
            height,
            title: title.to_owned(),
            body: String::new(),
        }
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A line through points.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.is_empty() {
            return;
        }
        let mut d = String::new();
        for (k, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if k == 0 { "M" } else { "L" });
        }
        self.push(format_args!(r#"<path class="{class}" d="{d}"/>"#));
    }

    /// A rectangle; the hint appears when the pointer rests on it.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), hint: &str) {
        let hint = hint_element(hint);
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}">{hint}</rect>"#,
            w.max(0.0),
            h.max(0.0),
        ));
    }

    /// A dot; the hint appears when the pointer rests on it.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, hint: &str) {
        let hint = hint_element(hint);
        self.push(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}">{hint}</circle>"#
        ));
    }

    /// A text.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// The picture as an element inside a page that holds [`STYLE`].
    pub fn inline(&self) -> String {
        let (w, h, title) = (self.width, self.height, escape(&self.title));
        format!(
            "<div class=\"scroll\"><svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" \
             viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{title}\">\n{}</svg></div>\n",
            self.body
        )
    }
}

/// The picture as a file of its own.
pub fn standalone(svg: &Svg) -> String {
    let (w, h, title) = (svg.width, svg.height, escape(&svg.title));
    format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" \
         width=\"{w}\" height=\"{h}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n\
         <style>{COLOURS}{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{w}\" height=\"{h}\"/>\n{}</svg>\n",
        svg.body
    )
}

fn hint_element(hint: &str) -> String {
    if hint.is_empty() {
        String::new()
    } else {
        format!("<title>{}</title>", escape(hint))
    }
}

/// Text as it must stand in XML and HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The colours of light and dark mode, shared by pictures and page.
pub const COLOURS: &str = "
:root{--ground:#fff;--panel:#f7f8fa;--ink:#1b2330;--soft:#5b6675;--rule:#e3e7ec;--axis:#aab3bf;
--baseline:#7d8896;--migrating:#1f6feb;--move:#d9730d;--bad:#c62828;--good:#1a7f4b;
--host0:#0f8b8d;--host1:#8a4fbf;--host2:#b8860b;--host3:#3f6fb5}
@media (prefers-color-scheme:dark){:root{--ground:#12161c;--panel:#1a2028;--ink:#e6eaf0;--soft:#9aa6b5;
--rule:#2a323d;--axis:#556170;--baseline:#93a0b0;--migrating:#6ea8ff;--move:#f5a04c;--bad:#ff7b72;
--good:#4cc38a;--host0:#4cc9c9;--host1:#c69bf0;--host2:#e0b84d;--host3:#86a9e6}}
";

/// How the parts of a picture look.
pub const STYLE: &str = "
.chart text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;fill:var(--soft)}
.chart text.ink{fill:var(--ink)}
.chart text.title{fill:var(--ink);font-weight:600;font-size:13px}
.chart text.small{font-size:11px}
.chart .ground{fill:var(--ground)}
.chart .grid{stroke:var(--rule);stroke-width:1}
.chart .axis{stroke:var(--axis);stroke-width:1}
.chart .divider{stroke:var(--rule);stroke-width:1;stroke-dasharray:3 3}
.chart path{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.chart path.baseline{stroke:var(--baseline);stroke-width:5;stroke-opacity:.45}
.chart line.baseline.wide{stroke-width:5;stroke-opacity:.45}
.chart path.migrating{stroke:var(--migrating)}
.chart line.baseline{stroke:var(--baseline);stroke-width:2.5}
.chart line.migrating{stroke:var(--migrating);stroke-width:2.5}
.chart line.mean{stroke:var(--baseline);stroke-width:1.5;stroke-dasharray:6 4}
.chart line.move{stroke:var(--move);stroke-width:1.5}
.chart line.failed{stroke:var(--bad);stroke-width:1.5}
.chart rect.move,.chart circle.move{fill:var(--move)}
.chart rect.band{fill:var(--move);fill-opacity:.16}
.chart rect.failed,.chart circle.failed{fill:var(--bad)}
.chart circle.baseline{fill:var(--baseline)}
.chart circle.migrating{fill:var(--migrating)}
.chart circle.hollow{fill:var(--ground);stroke-width:2}
.chart circle.hollow.baseline{stroke:var(--baseline)}
.chart circle.hollow.migrating{stroke:var(--migrating)}
.chart circle.hollow.move{stroke:var(--move)}
.chart path.host0,.chart line.host0{stroke:var(--host0);stroke-width:1.75}
.chart path.host1,.chart line.host1{stroke:var(--host1);stroke-width:1.75}
.chart path.host2,.chart line.host2{stroke:var(--host2);stroke-width:1.75}
.chart path.host3,.chart line.host3{stroke:var(--host3);stroke-width:1.75}
.chart line.host0.mean,.chart line.host1.mean,.chart line.host2.mean,.chart line.host3.mean{stroke-dasharray:5 4;stroke-opacity:.75}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_its_text() {
        let mut svg = Svg::new(10.0, 10.0, "a \"b\" <c>");
        svg.text("ink", (0.0, 0.0), Anchor::Start, "<script>&'\u{1}");
        svg.rect("move", (0.0, 0.0), (1.0, -1.0), "</title>");
        let file = standalone(&svg);
        assert!(!file.contains("<script>") && !file.contains("</title></title>"));
        assert!(file.contains("&lt;script&gt;&amp;&#39;\u{fffd}"));
        assert!(file.contains("height=\"0.0\""));
    }
}
