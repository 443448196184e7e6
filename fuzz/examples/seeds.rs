//! Writes what each fuzz target begins with into `corpus/NAME`, from the vectors and from what was found before.

use std::fs;
use std::path::Path;

use hlx_fuzz::laws::{LAWS, seeds};

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in LAWS {
        let corpus = here.join("corpus").join(name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in seeds(name).iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
        for found in fs::read_dir(here.join("../tests/found").join(name)).into_iter().flatten() {
            let found = found?;
            fs::copy(found.path(), corpus.join(found.file_name()))?;
        }
    }
    Ok(())
}
