//! The data at Redis: names of keys, records, scripts and the messages of the channel.

pub(super) mod invalidation;
pub(super) mod keys;
pub(super) mod record;
pub(super) mod scripts;
