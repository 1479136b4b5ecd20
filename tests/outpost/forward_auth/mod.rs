//! Forward auth: the dialects of reverse proxies, over HTTP and gRPC.

mod applications;
pub(crate) mod dialects;
#[cfg(feature = "ext-authz")]
mod ext_authz;
mod nginx;
mod shapes;
