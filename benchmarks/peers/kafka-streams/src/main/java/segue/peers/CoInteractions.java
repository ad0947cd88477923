package segue.peers;

import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Events into histories and windowed pair counts.
 *
 * <p>A pair (i, j) of a user is counted in bucket min(last(i), last(j)); when the minimum moves,
 * the old bucket gets -1 and the new one +1. Events come keyed by user, so both stores are local to
 * the task and nothing is repartitioned.
 */
final class CoInteractions implements Processor<String, Event, Void, Void> {
    static final String HISTORIES = "histories";
    static final String PAIRS = "pairs";

    private static final long BUCKET_MS = 86_400_000L;
    private static final String GRAPH_KIND = "stream";

    private static boolean started;

    private KeyValueStore<String, History> histories;
    private KeyValueStore<Bytes, Integer> pairs;

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        histories = context.getStateStore(HISTORIES);
        pairs = context.getStateStore(PAIRS);
    }

    @Override
    public void process(Record<String, Event> record) {
        if (!started) {
            started = true;
            System.out.println("{\"started\": " + System.currentTimeMillis() + "}");
        }
        Event event = record.value();
        History history = histories.get(event.userId());
        if (history == null) {
            history = History.empty();
        }
        int at = history.touch(event.item(), event.timestamp());
        if (event.kind().equals(GRAPH_KIND) && event.timestamp() > history.strong(at)) {
            moveStrong(history, at, event.timestamp());
        }
        int excess = history.excess();
        if (excess >= 0) {
            moveStrong(history, excess, History.NONE);
            history.remove(excess);
        }
        histories.put(event.userId(), history);
    }

    /** Set the graph-making time of an item and write what that changes of the user's pairs. */
    private void moveStrong(History history, int at, long time) {
        long was = bucket(history.strong(at));
        long now = bucket(time);
        history.setStrong(at, time);
        if (was == now) {
            return;
        }
        long item = history.item(at);
        if (was != History.NONE) {
            add(was, item, item, -1);
        }
        if (now != History.NONE) {
            add(now, item, item, 1);
        }
        for (int other = 0; other < history.length(); other++) {
            long theirs = bucket(history.strong(other));
            if (other == at || theirs == History.NONE) {
                continue;
            }
            long before = Math.min(was, theirs);
            long after = Math.min(now, theirs);
            if (before == after) {
                continue;
            }
            if (before != History.NONE) {
                add(before, item, history.item(other), -1);
            }
            if (after != History.NONE) {
                add(after, item, history.item(other), 1);
            }
        }
    }

    private void add(long bucket, long a, long b, int delta) {
        Bytes key = Pair.key(bucket, a, b);
        Integer count = pairs.get(key);
        int next = (count == null ? 0 : count) + delta;
        pairs.put(key, next == 0 ? null : next);
    }

    private static long bucket(long time) {
        return time == History.NONE ? History.NONE : time / BUCKET_MS;
    }
}
