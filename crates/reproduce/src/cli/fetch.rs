//! `fetch`.

mod inception;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chains_core::{
    checkpoint::{CONFIG_FILE, write_atomic},
    hub::{ModelId, fetch_model},
};
use datasets::{TABLES, find_mnist};

use super::{
    models::{hub_options, input},
    print, root,
};
use crate::{
    data::usage,
    error::{Error, Result},
};

/// Data sets that their makers give away but do not let others pass on, or that are too large to
/// ship: name, where it is, and how to give it to a command.
const ELSEWHERE: [(&str, &str, &str); 7] = [
    (
        "cifar10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "unpack it so that DIR/cifar-10-batches-bin holds data_batch_1.bin to test_batch.bin",
    ),
    (
        "cifar100",
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "unpack it so that DIR/cifar-100-binary holds train.bin and test.bin",
    ),
    (
        "celeba",
        "img_align_celeba.zip of https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "put its .jpg files into DIR/celeba",
    ),
    (
        "tfd",
        "the 48x48 images, which the authors of the Toronto Face Database hand out on request",
        "save them as .png into DIR/tfd",
    ),
    (
        "svhn",
        "train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers/",
        "put both into DIR",
    ),
    (
        "lsun",
        "the scene archives named in https://github.com/fyu/lsun, exported as images",
        "put the images of each scene into a folder of their own below DIR",
    ),
    (
        "fashion-mnist",
        "the four files of https://github.com/zalandoresearch/fashion-mnist",
        "put them, packed as they are, into a DIR of their own: their names are those of MNIST",
    ),
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// mnist, a table of the repository, inception, or a model on the hub: owner/name[@revision]
    #[arg(required = true, value_name = "DATASET|MODEL")]
    items: Vec<String>,
    /// Where the weights of inception come from: the published .pth, a .safetensors file of the same
    /// tensors, or a model on the hub
    #[arg(long, value_name = "FILE|MODEL")]
    from: Option<String>,
    /// Take weights of inception that are not the published ones; scores by them are not called FID
    #[arg(long)]
    unverified: bool,
    /// Copy the files to a folder of each one's name below this one
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Never use the network: only what is cached
    #[arg(long)]
    offline: bool,
}

/// Something that can be had.
enum Item {
    Local(Files),
    Inception,
    Model(ModelId),
}

/// Files at hand.
struct Files {
    /// The table, or the folder that the files are in.
    at: PathBuf,
    files: Vec<PathBuf>,
    /// Where `--data` looks for them below its folder.
    folder: String,
}

pub(super) fn run(args: Args) -> Result<u8> {
    let root = root();
    if args.from.is_some() && args.items != [crate::inception::NAME] {
        return Err(Error::Usage("--from: is for `fetch inception` alone".into()));
    }
    // A mistyped name is found before the first download.
    let items = args.items.iter().map(|name| find(name, &root)).collect::<Result<Vec<_>>>()?;
    for item in items {
        let found = match item {
            Item::Local(files) => files,
            Item::Inception => {
                print(&inception::fetch(&args, &root)?.display().to_string());
                continue;
            }
            Item::Model(id) => {
                let dir = fetch_model(&id, &hub_options(args.offline))?;
                Files { files: files_of(&dir)?, at: dir, folder: id.name().to_owned() }
            }
        };
        let place = match &args.to {
            Some(to) => found.copy(&to.join(&found.folder))?,
            None => found.at,
        };
        print(&place.display().to_string());
    }
    Ok(0)
}

fn find(name: &str, root: &Path) -> Result<Item> {
    if name == crate::inception::NAME {
        return Ok(Item::Inception);
    }
    if name == "mnist" {
        let dir = find_mnist(None, root).map_err(usage)?;
        return Ok(Item::Local(Files { files: files_of(&dir)?, at: dir, folder: name.to_owned() }));
    }
    if let Some(table) = TABLES.iter().find(|table| table.name == name) {
        let dir = root.join("datasets").join("tabular");
        let at = dir.join(table.file);
        // The list of digests and the licence go where the table goes.
        let names = [table.file, "SHA256SUMS", "README.md"];
        let files: Vec<_> =
            names.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
        if files.first() != Some(&at) {
            let reason = "is not there; run the command inside the repository";
            return Err(Error::format(at, reason));
        }
        return Ok(Item::Local(Files { at, files, folder: "tabular".to_owned() }));
    }
    if let Some((_, source, how)) = ELSEWHERE.iter().find(|(known, ..)| *known == name) {
        return Err(Error::Usage(format!(
            "{name}: is not downloaded for you; get {source}, {how}, and give --data DIR"
        )));
    }
    name.parse().map(Item::Model).map_err(|_| {
        let tables = TABLES.map(|table| table.name).join(", ");
        let elsewhere = ELSEWHERE.map(|(name, ..)| name).join(", ");
        Error::Usage(format!(
            "`{name}` is nothing to fetch; there are mnist, {tables}, inception, models on the hub as \
             owner/name[@revision], and advice on {elsewhere}"
        ))
    })
}

/// The files of a folder by name, `config.json` last: a copy without it is no model yet.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(|source| input(Error::io(dir, source)))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort_by_key(|path| (path.ends_with(CONFIG_FILE), path.clone()));
    Ok(files)
}

impl Files {
    /// Copies the files into a folder, each under a temporary name first.
    fn copy(&self, to: &Path) -> Result<PathBuf> {
        fs::create_dir_all(to).map_err(|source| refuse(to, source))?;
        let from = self.files.first().and_then(|path| path.parent());
        if from.is_some_and(|from| fs::canonicalize(to).ok() == fs::canonicalize(from).ok()) {
            return Ok(to.to_owned());
        }
        // At no moment does the config of an earlier copy stand beside new weights.
        let config = to.join(CONFIG_FILE);
        if config.is_file() && self.files.iter().any(|path| path.ends_with(CONFIG_FILE)) {
            fs::remove_file(&config).map_err(|source| refuse(&config, source))?;
        }
        for path in &self.files {
            let target = to.join(path.file_name().unwrap_or_default());
            let mut from = fs::File::open(path).map_err(|source| input(Error::io(path, source)))?;
            write_atomic(&target, |to| io::copy(&mut from, to).map(drop)).map_err(|error| {
                match error {
                    chains_core::Error::Io { source, .. } => refuse(&target, source),
                    other => other.into(),
                }
            })?;
        }
        Ok(to.to_owned())
    }
}

/// A full disk breaks a run; any other refusal means that another folder should be given.
fn refuse(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::io(path, source),
        _ => Error::Usage(format!("--to: {} cannot be written: {source}", path.display())),
    }
}
