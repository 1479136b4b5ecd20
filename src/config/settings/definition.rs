//! How a setting is defined: once, with its field in a section of the configuration. The field's
//! documentation is the setting's, in `--help`, in the reference and in the example files.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::kind::Kind;
use crate::config::settings::parse::parser::Parser;

/// The variable that names the configuration file, as `--config` does.
pub const FILE_VARIABLE: &str = "AUTHENTIK_PROXY_CONFIG";

/// The prefix of variables that the vendor's outpost does not have.
pub const OWN_PREFIX: &str = "AUTHENTIK_PROXY_";

/// Variables of the vendor's outpost that are accepted without effect, so that the environment of an
/// existing deployment works unchanged.
pub const IGNORED_VARIABLES: &[&str] = &[
    "AUTHENTIK_DEBUG",
    "AUTHENTIK_DISABLE_UPDATE_CHECK",
    "AUTHENTIK_ERROR_REPORTING__ENABLED",
];

/// A setting, apart from the type of its value.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file: `section.name`.
    pub key: &'static str,
    /// The default.
    pub fallback: Fallback,
    /// The kind of its values.
    pub kind: Kind,
    /// The minimum, in the unit of the kind: milliseconds, bytes or a number; 0 without one.
    pub minimum: u64,
    /// Its former key, accepted for one release.
    pub former_key: Option<&'static str>,
    /// Whether a change applies while the program runs.
    pub reloadable: bool,
    /// The documentation: a line, and perhaps a paragraph.
    pub(crate) doc: &'static str,
    /// Its variable, where the vendor's outpost has one; otherwise derived from `key`.
    pub(crate) vendor_variable: Option<&'static str>,
}

/// The default of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// None: the program does not start without the setting.
    Required,
    /// None: the feature is off, or decided elsewhere.
    Unset,
    /// This value, as written in the file.
    Value(&'static str),
}

/// A setting with the parser of its value.
#[derive(Debug)]
pub(crate) struct Typed<T> {
    pub(crate) setting: Setting,
    pub(crate) parser: Parser<T>,
}

/// Where sections read their settings from.
pub(crate) trait Source {
    /// A setting that must be set; `None` means that a problem was recorded.
    fn required<T>(&mut self, setting: &Typed<T>) -> Option<T>;

    /// A setting that may be unset.
    fn optional<T>(&mut self, setting: &Typed<T>) -> Option<T>;

    /// A setting with a default, which also replaces an invalid value.
    fn default<T>(&mut self, setting: &Typed<T>) -> T;
}

impl Setting {
    /// What it is for, and its minimum, in one line.
    #[must_use]
    pub fn about(&self) -> String {
        let line = self.doc.lines().next().unwrap_or_default();
        let line = line.trim().replace('`', "");
        match self.minimum_text() {
            Some(minimum) => format!("{line}; minimum {minimum}"),
            None => line,
        }
    }

    /// The minimum as it is written in the file, unless it only excludes zero.
    fn minimum_text(&self) -> Option<String> {
        let units: &[(u64, &str)] = match self.kind {
            Kind::Duration => &[(60 * 1000, "m"), (1000, "s"), (1, "ms")],
            Kind::Size => &[(1 << 20, "MiB"), (1 << 10, "KiB"), (1, "")],
            _ => &[(1, "")],
        };
        let mut units = units.iter();
        let (size, unit) = units.find(|(size, _)| self.minimum.is_multiple_of(*size))?;
        (self.minimum > 1).then(|| format!("{}{unit}", self.minimum / size))
    }

    /// More about it, as a paragraph of Markdown; often empty.
    #[must_use]
    pub fn detail(&self) -> String {
        let lines = self.doc.lines().skip(1).map(str::trim);
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        lines.join(" ")
    }

    /// Its variable: the vendor's if there is one, otherwise derived from the key
    /// (`shutdown.drain_timeout` is `AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT`).
    #[must_use]
    pub fn variable(&self) -> Cow<'static, str> {
        self.vendor_variable
            .map_or_else(|| derived_variable(self.key).into(), Cow::Borrowed)
    }

    /// Its former variable, accepted for one release.
    #[must_use]
    pub fn former_variable(&self) -> Option<String> {
        self.former_key.map(derived_variable)
    }
}

/// The variable that a key gives.
pub(crate) fn derived_variable(key: &str) -> String {
    let mut name = OWN_PREFIX.to_owned();
    for (depth, part) in key.split('.').enumerate() {
        let separator = if depth == 0 { "" } else { "__" };
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{separator}{}", part.to_ascii_uppercase());
    }
    name
}

/// Defines a section of the configuration: a struct with a field for each setting, a constant of the
/// same name as the field that defines the setting, and `read`, which fills the fields.
///
/// ```text
/// /// What it is for, in one line
/// ///
/// /// More about it.
/// field: Type = PARSER, default("value"), vendor("AUTHENTIK_…"), was("section.former_name"), reloadable(true);
/// ```
///
/// Instead of `default("value")` stands `required`, or `optional`, which makes the field an `Option`.
macro_rules! section {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident in $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $parser:expr, $how:ident $(($default:literal))?
                    $(, vendor($vendor:literal))? $(, was($was:literal))?
                    $(, reloadable($reloadable:literal))?;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nKey `", $section, ".", stringify!($field), "`", $(", default `", $default, "`",)? ".")]
                $vis $field: section!(@field $how $type),
            )+
        }

        #[expect(
            non_upper_case_globals,
            reason = "a setting has the name of the field that it fills"
        )]
        impl $name {
            $(
                pub(crate) const $field: Typed<$type> = Typed {
                    setting: Setting {
                        key: concat!($section, ".", stringify!($field)),
                        fallback: section!(@fallback $how $($default)?),
                        kind: {
                            let parser: Parser<$type> = $parser;
                            parser.kind
                        },
                        minimum: {
                            let parser: Parser<$type> = $parser;
                            parser.minimum
                        },
                        former_key: section!(@option $($was)?),
                        reloadable: section!(@flag $($reloadable)?),
                        doc: concat!($($doc, "\n"),+),
                        vendor_variable: section!(@option $($vendor)?),
                    },
                    parser: $parser,
                };
            )+

            pub(crate) const SETTINGS: &[Setting] = &[$(Self::$field.setting),+];

            /// Reads every setting; `None` only if a problem was recorded.
            pub(crate) fn read(source: &mut impl Source) -> Option<Self> {
                $(let $field = source.$how(&Self::$field);)+
                Some(Self { $($field: section!(@value $how $field)),+ })
            }
        }
    };
    (@field optional $type:ty) => { Option<$type> };
    (@field $how:ident $type:ty) => { $type };
    (@value required $value:ident) => { $value? };
    (@value $how:ident $value:ident) => { $value };
    (@fallback required) => { Fallback::Required };
    (@fallback optional) => { Fallback::Unset };
    (@fallback default $default:literal) => { Fallback::Value($default) };
    (@flag) => { false };
    (@flag $value:literal) => { $value };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
}

pub(super) use section;
