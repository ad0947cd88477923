package segue.peers;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/**
 * What a user had: per item the latest event of any kind and the latest graph-making one.
 *
 * <p>Times only grow, so that repeats and disorder change nothing. At most CAP items: the oldest
 * goes. Serialized as packed longs, not as JSON: 24 bytes an item.
 */
final class History {
    static final int CAP = 512;
    static final long NONE = -1;
    private static final int COLUMNS = 3;

    private long[] rows;
    private int length;

    private History(long[] rows) {
        this.rows = rows;
        this.length = rows.length / COLUMNS;
    }

    static History empty() {
        return new History(new long[0]);
    }

    int length() {
        return length;
    }

    long item(int at) {
        return rows[at * COLUMNS];
    }

    /** Latest graph-making event in ms UTC, or NONE. */
    long strong(int at) {
        return rows[at * COLUMNS + 2];
    }

    void setStrong(int at, long time) {
        rows[at * COLUMNS + 2] = time;
    }

    /** Note an event of any kind; returns the item's place. */
    int touch(long item, long time) {
        int at = 0;
        while (at < length && item(at) != item) {
            at++;
        }
        if (at == length) {
            if ((length + 1) * COLUMNS > rows.length) {
                long[] grown = new long[(length + 1) * COLUMNS];
                System.arraycopy(rows, 0, grown, 0, length * COLUMNS);
                rows = grown;
            }
            rows[at * COLUMNS] = item;
            rows[at * COLUMNS + 1] = time;
            rows[at * COLUMNS + 2] = NONE;
            length++;
        } else {
            rows[at * COLUMNS + 1] = Math.max(rows[at * COLUMNS + 1], time);
        }
        return at;
    }

    /** Place of the item to be evicted, or -1 while there is room. */
    int excess() {
        if (length <= CAP) {
            return -1;
        }
        int oldest = 0;
        for (int at = 1; at < length; at++) {
            int byTime = Long.compare(rows[at * COLUMNS + 1], rows[oldest * COLUMNS + 1]);
            if (byTime < 0
                    || byTime == 0 && Long.compareUnsigned(item(at), item(oldest)) < 0) {
                oldest = at;
            }
        }
        return oldest;
    }

    void remove(int at) {
        length--;
        System.arraycopy(rows, length * COLUMNS, rows, at * COLUMNS, COLUMNS);
    }

    static Serde<History> serde() {
        Serializer<History> write = (topic, history) -> {
            ByteBuffer packed = ByteBuffer.allocate(history.length * COLUMNS * Long.BYTES);
            packed.asLongBuffer().put(history.rows, 0, history.length * COLUMNS);
            return packed.array();
        };
        Deserializer<History> read = (topic, packed) -> {
            if (packed == null) {
                return null;
            }
            long[] rows = new long[packed.length / Long.BYTES];
            ByteBuffer.wrap(packed).asLongBuffer().get(rows);
            return new History(rows);
        };
        return Serdes.serdeFrom(write, read);
    }
}
