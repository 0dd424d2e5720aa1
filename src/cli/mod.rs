//! The command line: what is typed becomes a configuration.

mod adopt;
mod cluster;
mod door;
mod endpoint;
mod machine;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    cluster::objects,
    pool::{Mistake, PoolEntry, PoolsFile},
    serve::{self, Directories, standalone},
    telemetry::log,
};
use adopt::{AdoptArgs, ReleaseArgs};
use cluster::{ControllerArgs, NodeArgs, StateDir, VolumesDir};
use door::{DoorArgs, NodeName};
use machine::MachineArgs;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pools file could not be read.
    #[error("cannot read the pools file {}", .path.display())]
    Unread {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pools file has mistakes.
    #[error("{}", Listed { path, mistakes })]
    Mistaken {
        /// Its path.
        path: PathBuf,
        /// All that were found.
        mistakes: Vec<Mistake>,
    },
    /// This machine's name is none for a node.
    #[error("no usable name for this node: {0}; give one with --node-id")]
    Nameless(String),
    /// The answer could not be written.
    #[error("cannot write to stdout")]
    Unwritten(#[source] io::Error),
    /// The disks could not be looked at.
    #[error("the disks could not be looked at")]
    NotLooked(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was there was not adopted.
    #[error("not adopted")]
    NotAdopted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A volume was not released.
    #[error("not released")]
    NotReleased(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The driver could not start or stopped in an error.
    #[error("the driver stopped")]
    Serving(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A Kubernetes CSI driver for node-local volumes on LVM.
///
/// Tarn makes volumes from the disks of the machine that a pod runs on. Nothing is replicated:
/// a lost machine loses its volumes.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Standalone(Standalone),
    Controller(ControllerArgs),
    Node(NodeArgs),
    Check(Check),
    #[command(subcommand)]
    Pools(PoolsCommand),
    Adopt(AdoptArgs),
    Release(ReleaseArgs),
    Schema(Schema),
}

/// Serve CSI on a unix socket over this machine's own pools.
///
/// Identity, Controller and Node are on one socket; no Kubernetes and no other daemon is needed.
/// Pools are opened as the pools file says, work that an earlier run left half-done is finished or
/// undone, and then the socket answers. SIGTERM lets running changes finish and ends with code 0.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = STANDALONE_EXAMPLE)]
struct Standalone {
    #[command(flatten)]
    pools: PoolsArg,

    #[command(flatten)]
    door: DoorArgs,

    #[command(flatten)]
    node: NodeName,

    #[command(flatten)]
    volumes: VolumesDir,
}

/// Say every mistake of a pools file with its line, or what its pools will be.
///
/// Nothing of the machine is looked at or changed. Exit code 0 means that the file is good, 1 that
/// it is not.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = CHECK_EXAMPLE)]
struct Check {
    #[command(flatten)]
    pools: PoolsArg,
}

/// Look at this machine's disks with the eyes of its pools.
#[derive(Debug, Subcommand)]
enum PoolsCommand {
    Plan(Plan),
}

/// Say which disks this machine's pools have and would take, and of each other why not.
///
/// The disks are looked at and nothing is changed. It needs root, as reading disks does. With a
/// pools file it says what `tarn standalone` would do at its start. Without one, the pools are the
/// StoragePools that match this node's labels, as the Kubernetes API has them, and it says what
/// `tarn node` would do; in a pod of the DaemonSet no flag is needed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = PLAN_EXAMPLE)]
struct Plan {
    #[command(flatten)]
    machine: MachineArgs,

    #[command(flatten)]
    state: StateDir,

    #[command(flatten)]
    volumes: VolumesDir,
}

/// Print the JSON schema of the pools file, or the definitions of the objects in the API.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = SCHEMA_EXAMPLE)]
struct Schema {
    /// What to print.
    #[arg(value_enum, default_value_t = SchemaOf::Pools)]
    of: SchemaOf,
}

/// What there are schemas of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SchemaOf {
    /// The pools file of `tarn standalone`: a JSON schema.
    Pools,
    /// StoragePool, NodeLocalStorage and LogicalVolume: CustomResourceDefinitions.
    Crds,
}

#[derive(Debug, Args)]
struct PoolsArg {
    /// The pools of this machine, in YAML.
    #[arg(long = "pools", value_name = "FILE", env = "TARN_POOLS")]
    file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  tarn check --pools pools.yaml
  tarn pools plan --pools pools.yaml
  tarn adopt vg0/photos --name photos --pools pools.yaml
  tarn standalone --pools pools.yaml --endpoint unix:///run/tarn/csi.sock
  tarn help standalone";

const STANDALONE_EXAMPLE: &str = "\
Example:
  cat > pools.yaml <<END
  pools:
    - name: fast
      volumeGroup: vg0        # is there already, and is used as it is
    - name: try
      loopFile:               # stands in for a disk; made when it is not there
        directory: /var/lib/tarn
        size: 10Gi
      provisioning: ThickAndThin
      thinPool:
        size: 4Gi
    - name: scratch
      memory: {size: 25%}     # of the machine's; its contents are gone after a restart
  END
  tarn standalone --pools pools.yaml --endpoint unix:///run/tarn/csi.sock \\
      --metrics 127.0.0.1:9810";

const CHECK_EXAMPLE: &str = "\
Example:
  $ tarn check --pools pools.yaml
  tarn: pools.yaml: 1 mistake
    line 4: provisioning: `thin` is not one of Thick, Thin, ThickAndThin";

const PLAN_EXAMPLE: &str = "\
Example:
  $ tarn pools plan --pools pools.yaml
  pool fast: volume group tarn-fast, not there yet
    takes   /dev/sdb (931.5Gi, Samsung SSD 870, serial S5Y1NG0N)
    refuses /dev/sdc (3.6Ti, WDC WD40EFRX, serial WD-1): it has an ext4 file system
  to do:
    pvcreate --metadatasize 32Mi /dev/sdb
    vgcreate --addtag tarn.pool=fast ... tarn-fast /dev/sdb
  $ tarn pools plan --node-id node-1 --kubeconfig /etc/tarn/kubeconfig
  $ kubectl -n tarn-system exec tarn-node-x7k2p -- tarn pools plan";

const SCHEMA_EXAMPLE: &str = "\
Example:
  tarn schema > pools.schema.json
  # then, as the first line of pools.yaml, for editors with a YAML language server:
  # yaml-language-server: $schema=pools.schema.json
  tarn schema crds | kubectl apply -f -";

/// Does what the command line says. Help and mistakes in the command line end the program here,
/// with codes 0 and 2.
///
/// # Errors
/// What went wrong, with its causes.
pub fn run(out: &mut dyn io::Write) -> Result<ExitCode, Error> {
    match Cli::parse().command {
        Command::Standalone(args) => {
            log::init(&args.door.log());
            serve::standalone(&args.config()?).map_err(stopped)?;
        }
        Command::Controller(args) => {
            log::init(&args.door.log());
            serve::controller(&args.config()).map_err(stopped)?;
        }
        Command::Node(args) => {
            log::init(&args.door.log());
            serve::node(&args.config()?).map_err(stopped)?;
        }
        Command::Check(args) => {
            for pool in args.pools.read()? {
                writeln!(out, "{pool}").map_err(Error::Unwritten)?;
            }
        }
        Command::Pools(PoolsCommand::Plan(args)) => {
            let Plan { machine, state, volumes } = args;
            let (driver, node) = (machine.driver(), machine.node()?);
            let directories = Directories { state: state.state_dir, volumes: volumes.volumes_dir };
            let plan = serve::outlook(&driver, &node, machine.source()?, &directories);
            let plan = plan.map_err(not_looked)?;
            write!(out, "{plan}").map_err(Error::Unwritten)?;
        }
        Command::Adopt(args) => write!(out, "{}", args.run()?).map_err(Error::Unwritten)?,
        Command::Release(args) => write!(out, "{}", args.run()?).map_err(Error::Unwritten)?,
        Command::Schema(Schema { of: SchemaOf::Pools }) => {
            let schema = schemars::schema_for!(PoolsFile);
            writeln!(out, "{:#}", schema.as_value()).map_err(Error::Unwritten)?;
        }
        Command::Schema(Schema { of: SchemaOf::Crds }) => {
            let text = objects::definitions_text().map_err(Error::Unwritten)?;
            write!(out, "{text}").map_err(Error::Unwritten)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn not_looked(err: anyhow::Error) -> Error {
    Error::NotLooked(err.into())
}

fn stopped(err: anyhow::Error) -> Error {
    Error::Serving(err.into())
}

impl Standalone {
    fn config(self) -> Result<standalone::Config, Error> {
        Ok(standalone::Config {
            pools: self.pools.read()?,
            node: self.node.parse()?,
            door: self.door.door(),
            volumes: self.volumes.volumes_dir,
        })
    }
}

impl PoolsArg {
    fn read(self) -> Result<Vec<PoolEntry>, Error> {
        let text = fs::read_to_string(&self.file)
            .map_err(|source| Error::Unread { path: self.file.clone(), source })?;
        PoolsFile::read(&text).map_err(|mistakes| Error::Mistaken { path: self.file, mistakes })
    }
}

/// A heading and a line for each mistake.
struct Listed<'a> {
    path: &'a Path,
    mistakes: &'a [Mistake],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let s = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} mistake{s}", self.path.display())?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use insta::assert_snapshot;

    use super::*;
    use crate::volume::DEFAULT_NAME;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn config(more: &[&str]) -> Result<standalone::Config, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "pools: [{name: fast, volumeGroup: vg0}]").unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["tarn", "standalone", "--endpoint", "/csi.sock", "--pools", path];
        let command = Cli::try_parse_from(args.iter().chain(more)).unwrap().command;
        let Command::Standalone(args) = command else { unreachable!() };
        args.config()
    }

    #[test]
    fn flags_become_a_config() {
        let config = config(&["--node-id", "n1", "--metrics", "127.0.0.1:9810"]).unwrap();
        let door = &config.door;
        assert_eq!(door.endpoint, Path::new("/csi.sock"));
        assert_eq!((config.node.as_str(), door.driver.name()), ("n1", DEFAULT_NAME));
        assert_eq!(config.pools.len(), 1);
        assert_eq!(door.metrics, Some("127.0.0.1:9810".parse().unwrap()));
    }

    #[test]
    fn a_node_has_a_name_of_its_own() {
        let name = config(&[]).unwrap().node;
        assert!(!name.as_str().is_empty());
    }

    #[test]
    fn a_bad_flag_is_explained() {
        let said = |args: &[&str]| {
            let start = ["tarn", "standalone", "--pools", "p"];
            Cli::try_parse_from(start.iter().chain(args)).unwrap_err().to_string()
        };
        let endpoint = said(&["--endpoint", "tcp://localhost:1"]);
        assert!(endpoint.contains("unix:///run/tarn/csi.sock"), "{endpoint}");
        let driver = said(&["--endpoint", "/s", "--driver-name", "9"]);
        assert!(driver.contains("local.tarn.dev"), "{driver}");
        let level = said(&["--endpoint", "/s", "--log-level", "loud"]);
        assert!(level.contains("info,tarn::lvm=debug"), "{level}");
    }

    #[test]
    fn mistakes_are_listed_under_the_file() {
        let mistake = |line, message: &str| Mistake { line, column: 1, message: message.into() };
        let mistakes =
            vec![mistake(2, "name: missing"), mistake(7, "stripes: 1 is not in 2 to 128")];
        let err = Error::Mistaken { path: "pools.yaml".into(), mistakes };
        assert_snapshot!(err, @r#"
        pools.yaml: 2 mistakes
          line 2: name: missing
          line 7: stripes: 1 is not in 2 to 128
        "#);
    }

    #[test]
    fn the_example_of_the_help_is_a_good_pools_file() {
        let yaml: String = STANDALONE_EXAMPLE
            .lines()
            .skip_while(|line| !line.contains("pools:"))
            .take_while(|line| !line.contains("END"))
            .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
            .collect();
        assert_eq!(PoolsFile::read(&yaml).unwrap().len(), 3);
    }
}
