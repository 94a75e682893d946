use std::sync::atomic::AtomicU64;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A server that answers every byte, a client that counts the answers.
fn echo(world: &mut World) -> Arc<AtomicU64> {
    echo_server(world);
    let (net, answers) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
    let counted = answers.clone();
    world.boot(1, async move {
        loop {
            let Ok(mut stream) = net.connect("server:7").await else { continue };
            while stream.write_u8(1).await.is_ok() && stream.read_u8().await.is_ok() {
                counted.fetch_add(1, Relaxed);
            }
        }
    });
    answers
}

fn echo_server(world: &mut World) {
    let net = world.env(0).net;
    world.boot(0, async move {
        let mut listener = net.listen("0.0.0.0:7").await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    stream.write_u8(byte).await.unwrap();
                }
            });
        }
    });
}

fn steps(world: &mut World, count: u64, answers: &AtomicU64) -> u64 {
    let before = answers.load(Relaxed);
    (0..count).for_each(|_| world.step());
    answers.load(Relaxed) - before
}

fn in_a_world<T: Send + 'static>(story: impl FnOnce(&mut World) -> T + Send + 'static) -> T {
    let run = move || story(&mut World::new(vec!["server".into(), "client".into()], 1));
    os::run(1, run).expect("the story holds")
}

fn cut(world: &mut World, loss: Loss) {
    world.cut(0, 1, loss);
    world.cut(1, 0, loss);
}

fn heal(world: &mut World) {
    world.heal(0, 1);
    world.heal(1, 0);
}

#[test]
fn bytes_take_time_and_a_cut_holds_or_loses_them() {
    in_a_world(|world| {
        let answers = echo(world);
        let freely = steps(world, 500, &answers);
        assert!((60..130).contains(&freely), "a second at 8 to 16 ms per answer: {freely}");
        cut(world, Loss::Held);
        assert_eq!(steps(world, 100, &answers), 0);
        heal(world);
        assert!(steps(world, 100, &answers) > 10, "the same connection goes on");
        cut(world, Loss::Lost);
        assert_eq!(steps(world, 100, &answers), 0);
        heal(world);
        assert_eq!(steps(world, 500, &answers), 0, "the connection is dead and does not say so");
        world.reset(0, 1);
        assert!(steps(world, 100, &answers) > 10, "a new one");
    });
}

#[test]
fn whom_a_fault_meets_is_counted() {
    in_a_world(|world| {
        let both = [(0, 1), (1, 0)];
        assert_eq!((world.reset(0, 1), world.freeze(1)), (0, false), "nobody runs");
        let answers = echo(world);
        steps(world, 50, &answers);
        assert_eq!((world.cut_off(&both), world.misled(1)), (0, 0), "all is well");
        let sent = world.sent();
        assert!(sent > 0);
        cut(world, Loss::Lost);
        let net = world.env(1).net;
        world.spawn(1, async move { drop(net.connect("server:7").await) });
        steps(world, 50, &answers);
        let lost = world.cut_off(&both);
        assert!(lost > 0 && world.cut_off(&both[..1]) + world.cut_off(&both[1..]) == lost && world.sent() > sent);
        heal(world);
        assert_eq!(world.reset(0, 1), 2, "one connection, at both ends");
        assert!(world.freeze(1) && !world.freeze(1), "it stands still already");
        world.thaw(1);
        world.set_clock_offset(1, 7);
        let clock = world.env(1).clock;
        clock.now_ms();
        world.set_clock_offset(1, 0);
        clock.now_ms();
        assert_eq!((world.misled(0), world.misled(1)), (0, 1));
        world.kill(0, true);
        cut(world, Loss::Lost);
        steps(world, 50, &answers);
        assert_eq!(world.cut_off(&both), lost, "who speaks to nobody misses nothing");
    });
}

#[test]
fn one_way_means_one_way() {
    in_a_world(|world| {
        world.cut(0, 1, Loss::Lost);
        let heard = Arc::new(AtomicU64::new(0));
        let (net, counted) = (world.env(0).net, heard.clone());
        world.boot(0, async move {
            let (mut stream, _) = net.listen("0.0.0.0:7").await.unwrap().accept().await.unwrap();
            while stream.read_u8().await.is_ok() {
                counted.fetch_add(1, Relaxed);
                stream.write_u8(1).await.unwrap();
            }
        });
        let (net, answers) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
        let counted = answers.clone();
        world.boot(1, async move {
            let mut stream = net.connect("server:7").await.unwrap();
            stream.write_u8(1).await.unwrap();
            stream.read_u8().await.unwrap();
            counted.fetch_add(1, Relaxed);
        });
        steps(world, 200, &answers);
        assert_eq!((heard.load(Relaxed), answers.load(Relaxed)), (1, 0));
    });
}

#[test]
fn a_lost_request_for_a_connection_is_sent_again_and_a_refused_one_is_not() {
    in_a_world(|world| {
        cut(world, Loss::Lost);
        let (net, done) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
        let counted = done.clone();
        world.boot(1, async move {
            let refused = net.connect("server:8").await.map(drop).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            counted.fetch_add(1, Relaxed);
        });
        assert_eq!(steps(world, 1000, &done), 0, "silence");
        heal(world);
        assert_eq!(steps(world, 600, &done), 1);
        assert!(world.panics().is_empty());
    });
}

#[test]
fn a_port_is_free_as_soon_as_its_process_gives_it_up_and_not_before() {
    in_a_world(|world| {
        let (net, taken) = (world.env(0).net, Arc::new(AtomicU64::new(0)));
        let counted = taken.clone();
        world.boot(0, async move {
            for _ in 0..3 {
                let listener = net.listen("0.0.0.0:7").await.unwrap();
                let second = net.listen("0.0.0.0:7").await;
                assert_eq!(second.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
                drop(listener);
                counted.fetch_add(1, Relaxed);
            }
        });
        assert_eq!(steps(world, 30, &taken), 3);
        assert!(world.panics().is_empty(), "{:?}", world.panics());
    });
}

#[test]
fn a_frozen_process_goes_on_where_it_stood_and_a_killed_one_is_noticed() {
    in_a_world(|world| {
        let answers = echo(world);
        steps(world, 50, &answers);
        world.freeze(0);
        assert!(steps(world, 100, &answers) <= 1);
        world.thaw(0);
        assert!(steps(world, 100, &answers) > 10);
        world.kill(0, true);
        steps(world, 20, &answers);
        assert_eq!(steps(world, 100, &answers), 0, "refused, again and again");
        echo_server(world);
        assert!(steps(world, 100, &answers) > 10);
        assert!(world.panics().is_empty());
    });
}

#[test]
fn a_machine_without_power_is_silent_and_back_again_it_knows_no_connection() {
    in_a_world(|world| {
        let answers = echo(world);
        steps(world, 50, &answers);
        world.kill(0, false);
        assert!(steps(world, 1000, &answers) <= 1);
        let (net, ended) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
        let counted = ended.clone();
        world.spawn(1, async move {
            drop(net.connect("server:7").await);
            counted.fetch_add(1, Relaxed);
        });
        assert_eq!(steps(world, 1000, &ended), 0, "nobody says that nobody is there");
        echo_server(world);
        assert_eq!(steps(world, 1000, &ended), 1);
    });
}

#[test]
fn a_panic_in_a_task_is_noted() {
    in_a_world(|world| {
        world.boot(0, async { panic!("by intent") });
        world.step();
        assert!(world.panics()[0].contains("by intent"));
    });
}
