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
