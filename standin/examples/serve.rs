//! The stand-in as a program, for scripts: an administrator with the token that is given may write, and
//! lists all applications. Prints its address, and runs until standard input ends.

use std::error::Error;
use std::io::Read as _;

use authentik_standin::Standin;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::args().nth(1).ok_or("usage: serve TOKEN")?;
    let authentik = Standin::builder().start().await?;
    authentik.admit_admin(&token);
    authentik.promote_admin();
    #[expect(clippy::print_stdout, reason = "the script reads it")]
    {
        println!("{}", authentik.url());
    }
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await??;
    Ok(())
}
