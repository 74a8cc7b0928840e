use super::*;

const CONFIGURATION: &str = r#"
    [[interface]]
    name = "lan"
    role = "inside"
    prefixes = "10.0.0.0/24"
    [[interface]]
    name = "wan"
    role = "outside"
    [[channel]]
    name = "own"
    type = "custom"
    [[channel]]
    name = "internet"
    type = "nat"
    external = "192.0.2.1"
    ports = "2000-2009"
"#;

fn plans(custom: CustomChannels, workers: usize) -> Result<Vec<ChannelPlan>, SetupError> {
    let config = Config::parse(CONFIGURATION, "test.toml").unwrap();
    let recorders = (0..workers).map(|_| Recorders::none()).collect();
    channels_of_workers(&config, &Links::default(), custom, recorders)
}

fn error(custom: CustomChannels, workers: usize) -> String {
    plans(custom, workers).err().unwrap().to_string()
}

#[test]
fn a_channel_that_is_brought_once_takes_one_worker() {
    let mut once = CustomChannels::new();
    once.add("own", || Pass);
    assert_eq!(plans(once, 1).unwrap().len(), 1);
    let mut once = CustomChannels::new();
    once.add("own", || Pass);
    let told = error(once, 2);
    assert!(told.contains("`own`") && told.contains("count = 1"), "{told}");
    assert!(error(CustomChannels::new(), 2).contains("brings no channel"));
}

#[test]
fn each_worker_has_channels_of_its_own() {
    let (made, told) = std::sync::mpsc::channel();
    let mut each = CustomChannels::new();
    each.add_for_each("own", move |worker| {
        // Nobody listens in the end.
        let _ = made.send(worker);
        Pass
    });
    let all = plans(each, 3).unwrap();
    let mut ports = 0;
    for plan in all {
        let names: Vec<String> = plan.ids().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["drop", "pass", "own", "internet"]);
        let registry = plan.register().unwrap();
        let pools = registry.iter().filter_map(|(_, channel, _)| channel.pool());
        ports += pools.map(|pool| pool.ports_per_protocol).sum::<u64>();
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(ports, 10, "each port is one worker's");
}

#[test]
fn too_few_ports_for_all_workers_are_refused() {
    let mut each = CustomChannels::new();
    each.add_for_each("own", |_| Pass);
    let told = error(each, 6);
    assert!(told.contains("`internet`") && told.contains("workers"), "{told}");
}
