//! Pages for users: self-contained HTML without scripts or external assets.

use maud::{DOCTYPE, PreEscaped, html};

/// The content of a page.
#[derive(Debug, Default)]
pub struct Page<'a> {
    /// The headline.
    pub title: &'a str,
    /// What happened and what to do, in one or two sentences.
    pub text: &'a str,
    /// What was reported, for administrators.
    pub detail: Option<&'a str>,
    /// Name of the application, if known.
    pub application: Option<&'a str>,
    /// Facts, by headline; the first headline may be empty.
    pub sections: &'a [(&'a str, Vec<Row>)],
    /// Buttons, label and target, which sends a `POST` without a body; the first stands out.
    pub actions: &'a [(&'a str, &'a str)],
    /// Links, label and target; the first stands out, unless there are buttons.
    pub links: &'a [(&'a str, &'a str)],
    /// An absolute URL that the browser is led on to at once.
    pub next: Option<&'a str>,
    /// A question to the user.
    pub question: Option<Question<'a>>,
    /// Request id, to find the details in the log.
    pub request_id: &'a str,
}

/// A fact: its name and its value.
pub type Row = (&'static str, String);

/// A confirmation.
#[derive(Debug)]
pub struct Question<'a> {
    /// Label of the confirming button.
    pub yes: &'a str,
    /// Target of its form, sent by `POST` without a body.
    pub action: &'a str,
    /// Label of the cancelling link.
    pub no: &'a str,
    /// Target of the link.
    pub back: &'a str,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--fg:#1b1f24;--muted:#59636e;--bg:#f6f8fa;--card:#fff;--line:#d1d9e0;--edge:#7d8590;--accent:#b8381f}\
@media(prefers-color-scheme:dark){:root{--fg:#f0f3f6;--muted:#9ea7b3;--bg:#0d1117;--card:#161b22;--line:#30363d;--edge:#7d8590;--accent:#ff7b5c}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;min-height:100svh;display:grid;place-items:center;padding:1rem;\
background:var(--bg);color:var(--fg);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\
main{width:100%;max-width:32rem;padding:clamp(1.25rem,6vw,2rem);background:var(--card);border:1px solid var(--line);border-radius:.75rem}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}p{margin:0 0 1rem}\
code{display:block;padding:.6rem .75rem;background:var(--bg);border:1px solid var(--line);border-radius:.5rem;font:.875rem/1.5 ui-monospace,monospace}\
.actions{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.5rem 0 0}\
a,button{padding:.6rem 1.1rem;border:1px solid var(--accent);border-radius:.5rem;background:var(--accent);color:var(--card);\
text-align:center;text-decoration:none;font:inherit;font-weight:600;cursor:pointer}.quiet{background:none;border-color:var(--edge);color:var(--fg)}\
a:hover,button:hover{text-decoration:underline}:focus-visible{outline:3px solid var(--fg);outline-offset:2px}\
dl{display:grid;grid-template-columns:minmax(0,2fr) minmax(0,3fr);gap:.35rem 1rem;margin:0 0 1rem}dt{color:var(--muted)}dd{margin:0}\
h2{margin:1.5rem 0 .5rem;font-size:1.125rem;line-height:1.25}.actions form{display:grid}\
footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--muted);font-size:.875rem}\
@media(max-width:26rem){.actions>*{flex:1 0 100%}}";

/// Content security policy of the pages: their own style and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
/// That of a page that leads on. The sandbox takes its origin away: otherwise the way from another
/// site to the application would become one of the application's own, with its `SameSite=Strict`
/// cookies (RFC 6265bis section 5.2) and `Sec-Fetch-Site: same-origin`. `allow-scripts` is what a
/// refresh takes; `default-src` still forbids scripts.
const LEADING_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; sandbox allow-scripts";

impl Page<'_> {
    /// The page's content security policy.
    #[must_use]
    pub fn policy(&self) -> &'static str {
        if self.next.is_some() {
            LEADING_POLICY
        } else {
            POLICY
        }
    }

    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    @if let Some(next) = self.next {
                        // No script: a policy that a reverse proxy adds would stop it.
                        meta http-equiv="refresh" content=(format!("0;url={next}"));
                    }
                    title {
                        (self.title)
                        @if let Some(application) = self.application { " · " (application) }
                    }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        h1 { (self.title) }
                        p { (self.text) }
                        @if let Some(detail) = self.detail { p { code { (detail) } } }
                        @if let Some(next) = self.next {
                            p.actions { a href=(next) { "Continue" } }
                        }
                        @for (headline, rows) in self.sections {
                            @if !headline.is_empty() { h2 { (headline) } }
                            dl { @for (name, value) in rows { dt { (name) } dd { (value) } } }
                        }
                        @if !self.actions.is_empty() {
                            div.actions {
                                @for (index, (label, to)) in self.actions.iter().enumerate() {
                                    form method="post" action=(to) {
                                        button class=[(index > 0).then_some("quiet")] { (label) }
                                    }
                                }
                            }
                        }
                        @if !self.links.is_empty() {
                            p.actions {
                                @for (index, (label, to)) in self.links.iter().enumerate() {
                                    @let quiet = index > 0 || !self.actions.is_empty();
                                    a href=(to) class=[quiet.then_some("quiet")] { (label) }
                                }
                            }
                        }
                        @if let Some(question) = &self.question {
                            form method="post" action=(question.action) class="actions" {
                                button { (question.yes) }
                                a.quiet href=(question.back) { (question.no) }
                            }
                        }
                        @if self.application.is_some() || !self.request_id.is_empty() {
                            footer {
                                @if let Some(application) = self.application {
                                    (application)
                                    @if !self.request_id.is_empty() { " · " }
                                }
                                @if !self.request_id.is_empty() { "Request " (self.request_id) }
                            }
                        }
                    }
                }
            }
        }
        .into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn escapes_what_it_is_given_and_needs_nothing_from_outside() {
        let page = Page {
            title: "<b>",
            text: "\"x\" & y",
            detail: Some("<i>"),
            links: &[("First", "/a?b=\"c"), ("Second", "/b")],
            sections: &[("<u>", vec![("User", "<s>".to_owned())])],
            actions: &[("<p>", "/x?\"")],
            next: Some("https://a.test/?a=\"><script>&b;url=x"),
            ..Page::default()
        };
        let html = page.render();
        assert!(
            html.contains("&lt;b&gt;") && html.contains("&amp; y") && html.contains("b=&quot;c")
        );
        assert!(html.contains("<h2>&lt;u&gt;</h2>") && html.contains("<dd>&lt;s&gt;</dd>"));
        assert!(html.contains("action=\"/x?&quot;\"") && html.contains("&lt;p&gt;"));
        assert!(html.contains("&lt;i&gt;") && html.contains("href=\"/b\" class=\"quiet\""));
        let next = "https://a.test/?a=&quot;&gt;&lt;script&gt;&amp;b;url=x";
        assert!(html.contains(&format!("http-equiv=\"refresh\" content=\"0;url={next}\"")));
        assert!(html.contains(&format!("href=\"{next}\"")));
        let html = html.replace(next, "");
        assert!(
            !html.contains("<script") && !html.contains("http://") && !html.contains("https://")
        );
    }
}
