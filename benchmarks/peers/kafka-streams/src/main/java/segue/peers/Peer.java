package segue.peers;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The job of `segue worker` as a Kafka Streams application.
 *
 * <p>Arguments: bootstrap servers, events topic, application id, state folder, commit interval in
 * ms, `changelog` or `no-changelog`. Runs until SIGTERM; then prints the totals of the pair counts.
 */
public final class Peer {
    private Peer() {}

    public static void main(String[] arguments) {
        boolean changelog = arguments[5].equals("changelog");
        Properties settings = settings(arguments);
        KafkaStreams streams = new KafkaStreams(topology(arguments[1], changelog), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            printTotals(streams);
            streams.close();
        }));
        streams.start();
    }

    private static Topology topology(String events, boolean changelog) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(logged(changelog, Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(CoInteractions.HISTORIES),
                Serdes.String(), History.serde())));
        builder.addStateStore(logged(changelog, Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(CoInteractions.PAIRS),
                Serdes.Bytes(), Serdes.Integer())));
        builder.stream(events, Consumed.with(Serdes.String(), json()))
                .process(CoInteractions::new, CoInteractions.HISTORIES, CoInteractions.PAIRS);
        return builder.build();
    }

    private static <T extends StateStore> StoreBuilder<T> logged(
            boolean changelog, StoreBuilder<T> store) {
        StoreBuilder<T> cached = store.withCachingEnabled();
        return changelog ? cached.withLoggingEnabled(Map.of()) : cached.withLoggingDisabled();
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[2]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[3]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, RocksDbSettings.class);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        return settings;
    }

    private static Serde<Event> json() {
        ObjectReader reader = new ObjectMapper().readerFor(Event.class);
        Deserializer<Event> read = (topic, value) -> {
            try {
                return value == null ? null : reader.readValue(value);
            } catch (IOException error) {
                throw new SerializationException(error);
            }
        };
        return Serdes.serdeFrom((topic, event) -> {
            throw new UnsupportedOperationException("events are only read");
        }, read);
    }

    private static void printTotals(KafkaStreams streams) {
        long count = 0;
        long checksum = 0;
        try (KeyValueIterator<Bytes, Integer> pairs = streams.store(
                StoreQueryParameters.fromNameAndType(
                        CoInteractions.PAIRS,
                        QueryableStoreTypes.<Bytes, Integer>keyValueStore())).all()) {
            while (pairs.hasNext()) {
                var entry = pairs.next();
                count += entry.value;
                checksum += entry.value * Pair.of(entry.key).mix();
            }
        }
        System.out.println("{\"count\": " + count
                + ", \"checksum\": " + Long.toUnsignedString(checksum) + "}");
    }
}
