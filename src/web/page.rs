//! Pages for users: self-contained HTML without scripts or external assets.

use maud::{DOCTYPE, PreEscaped, html};

/// The content of a page.
#[derive(Debug, Default)]
pub struct Page<'a> {
    /// The headline.
    pub title: &'a str,
    /// What happened and what to do, in one or two sentences.
    pub text: &'a str,
    /// Details for administrators only.
    pub detail: Option<&'a str>,
    /// Name of the application, if known.
    pub application: Option<&'a str>,
    /// Target of "Try again".
    pub retry: Option<&'a str>,
    /// A question to the user.
    pub question: Option<Question<'a>>,
    /// Request id, to find the details in the log.
    pub request_id: &'a str,
}

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
:root{color-scheme:light dark;--fg:#1b1f24;--muted:#59636e;--bg:#f6f8fa;--card:#fff;--line:#d1d9e0;--accent:#b8381f}\
@media(prefers-color-scheme:dark){:root{--fg:#f0f3f6;--muted:#9ea7b3;--bg:#0d1117;--card:#161b22;--line:#30363d;--accent:#ff7b5c}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;\
background:var(--bg);color:var(--fg);font:1rem/1.5 system-ui,sans-serif}\
main{width:100%;max-width:32rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25;overflow-wrap:anywhere}p{margin:0 0 1rem;overflow-wrap:anywhere}\
a,button{display:inline-block;padding:.6rem 1.1rem;border:0;border-radius:.5rem;background:var(--accent);color:var(--card);\
text-decoration:none;font:inherit;font-weight:600;cursor:pointer}.quiet{background:none;color:var(--fg)}small{display:block;margin-top:1.5rem;color:var(--muted);overflow-wrap:anywhere}";

/// Content security policy of the pages: their own style and nothing else.
pub const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

impl Page<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        h1 { (self.title) }
                        p { (self.text) }
                        @if let Some(detail) = self.detail { p { code { (detail) } } }
                        @if let Some(retry) = self.retry { p { a href=(retry) { "Try again" } } }
                        @if let Some(question) = &self.question {
                            form method="post" action=(question.action) {
                                button { (question.yes) }
                                " " a.quiet href=(question.back) { (question.no) }
                            }
                        }
                        small {
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
            retry: Some("/a?b=\"c"),
            ..Page::default()
        };
        let html = page.render();
        assert!(
            html.contains("&lt;b&gt;") && html.contains("&amp; y") && html.contains("b=&quot;c")
        );
        assert!(
            !html.contains("<script") && !html.contains("http://") && !html.contains("https://")
        );
    }
}
