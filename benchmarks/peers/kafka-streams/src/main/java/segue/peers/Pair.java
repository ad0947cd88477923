package segue.peers;

import java.nio.ByteBuffer;
import org.apache.kafka.common.utils.Bytes;

/** Key of a pair's count: bucket, lesser item, greater item; 20 bytes. */
record Pair(int bucket, long low, long high) {
    static Bytes key(long bucket, long a, long b) {
        boolean ascending = Long.compareUnsigned(a, b) < 0;
        return Bytes.wrap(ByteBuffer.allocate(20)
                .putInt((int) bucket)
                .putLong(ascending ? a : b)
                .putLong(ascending ? b : a)
                .array());
    }

    static Pair of(Bytes key) {
        ByteBuffer packed = ByteBuffer.wrap(key.get());
        return new Pair(packed.getInt(), packed.getLong(), packed.getLong());
    }

    /** What the benchmark's checksum makes of a pair; see benchmarks/listening.py. */
    long mix() {
        long mixed = ((low * high) ^ (low + high)) + bucket * 0x9E3779B97F4A7C15L;
        mixed *= 0xBF58476D1CE4E5B9L;
        return mixed ^ (mixed >>> 32);
    }
}
