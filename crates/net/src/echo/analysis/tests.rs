//! Synthetic probes and replies, exact to the nanosecond.

use super::*;

const INTERVAL: u64 = 5;
const ROUND_TRIP: u64 = 1;

fn ms(milliseconds: u64) -> MonoNs {
    MonoNs(milliseconds * 1_000_000)
}

fn duration(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn tracker() -> Tracker {
    Tracker::new(Ipv4Addr::LOCALHOST, duration(10))
}

/// What becomes of a probe sent at a time: when its reply arrives, if it does.
type Fate = fn(u64) -> Option<u64>;

/// Sends a probe at each of `times` and delivers the replies in the order of their arrival.
fn play_at(times: impl Iterator<Item = u64>, fate: Fate) -> Tracker {
    let mut tracker = tracker();
    let mut events: Vec<(u64, bool, u32)> = Vec::new();
    for (number, sent) in (0..).zip(times) {
        events.push((sent, false, number));
        events.extend(fate(sent).map(|arrival| (arrival, true, number)));
    }
    events.sort_unstable();
    for (at, is_reply, number) in events {
        if is_reply {
            tracker.received(number, ms(at));
        } else {
            assert_eq!(tracker.next_sequence(), number);
            tracker.sent(ms(at));
        }
    }
    tracker
}

fn play(until: u64, fate: Fate) -> Tracker {
    play_at((0..until).step_by(INTERVAL as usize), fate)
}

#[test]
fn steady_replies_are_no_silence() {
    let record = play(1_000, |sent| Some(sent + ROUND_TRIP)).record(ms(1_000));
    assert_eq!(
        (record.sent, record.answered, record.doubled),
        (200, 200, 0)
    );
    assert!(record.silences.is_empty());
    assert_eq!(record.first_reply, Some(ms(1)));
    assert_eq!(record.last_reply, Some(ms(996)));
    assert_eq!(record.round_trip_max, duration(1));
}

#[test]
fn a_pause_whose_probes_are_lost() {
    let record = play(1_000, |sent| {
        (!(200..300).contains(&sent)).then_some(sent + ROUND_TRIP)
    })
    .record(ms(1_000));
    let [silence] = record.silences[..] else {
        panic!("{:?}", record.silences)
    };
    // Last reply before: to 195. First after: to 300.
    assert_eq!((silence.from, silence.until), (ms(196), ms(301)));
    assert_eq!(silence.length(), duration(100));
    // Sent in it: 200, 205 … 295, and 300, whose reply ended it.
    assert_eq!((silence.sent, silence.late, silence.lost()), (21, 1, 20));
    assert!(!silence.open);
}

#[test]
fn a_pause_whose_probes_wait_is_as_long_and_loses_none() {
    let record = play(1_000, |sent| {
        Some(if (200..300).contains(&sent) {
            300
        } else {
            sent + ROUND_TRIP
        })
    })
    .record(ms(1_000));
    let [silence] = record.silences[..] else {
        panic!("{:?}", record.silences)
    };
    assert_eq!((silence.from, silence.until), (ms(196), ms(300)));
    assert_eq!(silence.length(), duration(99));
    assert_eq!((silence.sent, silence.late, silence.lost()), (20, 20, 0));
    assert_eq!(record.answered, 200);
    assert_eq!(record.round_trip_max, duration(100));
}

#[test]
fn a_prober_that_stalls_sees_no_blackout() {
    let times = (0..200).step_by(5).chain((500..1_000).step_by(5));
    let record = play_at(times, |sent| Some(sent + ROUND_TRIP)).record(ms(1_000));
    assert!(record.silences.is_empty(), "{:?}", record.silences);
}

#[test]
fn a_prober_that_stalls_in_a_blackout_understates_it_and_says_so() {
    let times = (0..200).step_by(5).chain((500..1_000).step_by(5));
    let record = play_at(times, |sent| {
        (!(150..600).contains(&sent)).then_some(sent + ROUND_TRIP)
    })
    .record(ms(1_000));
    let [silence] = record.silences[..] else {
        panic!("{:?}", record.silences)
    };
    assert_eq!(silence.pause, duration(305));
    assert_eq!(silence.length(), duration(601 - 146 - 305));
}

#[test]
fn a_slow_network_is_not_silent() {
    let record = play(1_000, |sent| Some(sent + 300)).record(ms(1_000));
    assert!(record.silences.is_empty());
    assert_eq!(record.round_trip_p50.as_millis(), 300);
}

#[test]
fn before_the_first_reply_nothing_is_silent() {
    let record = play(1_000, |sent| (sent >= 500).then_some(sent + ROUND_TRIP)).record(ms(1_000));
    assert!(record.silences.is_empty());
    assert_eq!(record.first_reply, Some(ms(501)));
    let never = play(1_000, |_| None).record(ms(1_000));
    assert!(never.silences.is_empty() && never.first_reply.is_none());
}

#[test]
fn a_silence_that_lasts_is_seen_while_it_lasts() {
    let tracker = play(1_000, |sent| (sent < 500).then_some(sent + ROUND_TRIP));
    let record = tracker.record(ms(1_000));
    let [silence] = record.silences[..] else {
        panic!("{:?}", record.silences)
    };
    assert!(silence.open);
    assert_eq!((silence.from, silence.until), (ms(496), ms(1_000)));
    assert_eq!(silence.length(), duration(499));
    assert_eq!(silence.lost(), 100);
}

#[test]
fn the_longest_silence_of_a_window() {
    let record = play(1_000, |sent| {
        let lost =
            (200..250).contains(&sent) || (400..500).contains(&sent) || (800..820).contains(&sent);
        (!lost).then_some(sent + ROUND_TRIP)
    })
    .record(ms(1_000));
    assert_eq!(record.silences.len(), 3);
    let longest = |from, until| {
        record
            .longest_between(ms(from), ms(until))
            .map(|silence| silence.length())
    };
    assert_eq!(longest(0, 1_000), Some(duration(100)));
    assert_eq!(longest(0, 300), Some(duration(50)));
    assert_eq!(longest(790, 1_000), Some(duration(20)));
    assert_eq!(
        longest(450, 460),
        Some(duration(100)),
        "a window within a silence sees all of it"
    );
    assert_eq!(longest(520, 780), None);
    assert_eq!(longest(0, 197), Some(duration(50)));
}

#[test]
fn a_second_answer_is_counted_apart() {
    let mut tracker = tracker();
    tracker.sent(ms(0));
    tracker.received(0, ms(1));
    tracker.received(0, ms(2));
    let record = tracker.record(ms(3));
    assert_eq!((record.answered, record.doubled), (1, 1));
}

#[test]
fn what_was_never_sent_or_is_forgotten_is_ignored() {
    let mut tracker = tracker();
    tracker.received(0, ms(1));
    for number in 0..=REMEMBERED as u64 {
        tracker.sent(ms(number));
    }
    tracker.received(0, ms(20_000));
    tracker.received(u32::MAX, ms(20_000));
    assert_eq!(tracker.record(ms(20_000)).answered, 0);
    tracker.received(1, ms(20_000));
    assert_eq!(tracker.record(ms(20_000)).answered, 1);
}

#[test]
fn replies_out_of_order_never_turn_time_back() {
    let mut tracker = tracker();
    tracker.sent(ms(0));
    tracker.sent(ms(5));
    tracker.received(1, ms(7));
    tracker.received(0, ms(6));
    assert_eq!(tracker.record(ms(8)).last_reply, Some(ms(7)));
}
