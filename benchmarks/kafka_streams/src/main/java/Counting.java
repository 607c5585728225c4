import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Counts events per key and puts each count out, exactly once, until it has done so many; prints the rate from the first
 * count to the last, and ends once all is committed. It does not look into the values.
 */
public final class Counting {
    private static final int COMMIT_EVERY_MS = 100;

    public static void main(String[] arguments) throws InterruptedException {
        String input = arguments[2];
        String output = arguments[3];
        long wanted = Long.parseLong(arguments[4]);
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, COMMIT_EVERY_MS);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0); // or counts of a key would be merged
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");

        AtomicLong done = new AtomicLong();
        AtomicLong beganNs = new AtomicLong();
        AtomicLong endedNs = new AtomicLong();
        CountDownLatch ended = new CountDownLatch(1);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.ByteArray()))
                .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
                .count()
                .toStream()
                .peek((key, count) -> {
                    long now = done.incrementAndGet();
                    if (now == 1) {
                        beganNs.set(System.nanoTime());
                    }
                    if (now == wanted) {
                        endedNs.set(System.nanoTime());
                        ended.countDown();
                    }
                })
                .to(output, Produced.with(Serdes.String(), Serdes.Long()));
        try (KafkaStreams streams = new KafkaStreams(builder.build(), settings)) {
            streams.start();
            ended.await();
        }
        System.out.println((wanted - 1) * 1e9 / Math.max(endedNs.get() - beganNs.get(), 1));
    }
}
