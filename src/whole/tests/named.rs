//! Volumes whose devices are named.

use super::*;

#[test]
fn a_device_that_is_named_is_taken_and_no_other() {
    let machine = Machine::with(&[10, 20]);
    let whole = machine.started();
    let named = |name: &str, entry: &str| {
        let device = Some(machine.path("disks").join(entry));
        let parameters = Parameters { device, ..Parameters::default() };
        Wanted { parameters, ..block(name, Bytes::GIB) }
    };
    for _ in 0..2 {
        assert_eq!(whole.create(&named("a", "sdb")).unwrap().size, Bytes::gib(20));
    }
    for gone in ["sdb", "sdc"] {
        let refused = whole.create(&named("b", gone)).unwrap_err();
        assert!(matches!(refused, Error::NoRoom(_)), "{refused:?}");
        assert!(refused.to_string().ends_with(&format!("{gone} of pool whole is not free")));
    }
    assert_eq!(room(&whole).1, Bytes::gib(10), "the other one is as it was");
}

#[test]
fn what_others_have_is_not_given() {
    let machine = Machine::with(&[10, 20, 40]);
    std::os::unix::fs::symlink("/dev/sdc", machine.path("other")).unwrap();
    let whole = machine.started();
    let make = |name: &str, except: &[PathBuf]| {
        let parameters = Parameters { except: except.to_vec(), ..Parameters::default() };
        whole.create(&Wanted { parameters, ..block(name, Bytes::gib(1)) })
    };
    let all = [
        machine.path("disks").join("sda"),
        "/dev/sdb".into(),
        machine.path("other"),
        "/gone".into(),
    ];
    let Err(Error::NoRoom(said)) = make("a", &all) else { panic!() };
    for name in ["sda", "sdb", "sdc"] {
        let at = machine.path("disks").join(name);
        let why = "is free, but a PersistentVolume of the kind `local` has it";
        assert!(said.contains(&format!("{} {why}", at.display())), "{said}");
    }
    assert_eq!(make("a", &all[..2]).unwrap().size, Bytes::gib(40), "the smallest of the rest");
    assert_eq!(make("a", &all).unwrap().size, Bytes::gib(40), "it is there already");
}
