import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends keyed events with each kind of compression, and prints the partition that it chose for each: "key partition". */
public class JavaProducer {
    static final List<String> COMPRESSIONS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0], topic = arguments[1];
        int keys = Integer.parseInt(arguments[2]);
        for (String compression : COMPRESSIONS) {
            Properties options = new Properties();
            options.put("bootstrap.servers", servers);
            options.put("compression.type", compression);
            options.put("key.serializer", StringSerializer.class.getName());
            options.put("value.serializer", StringSerializer.class.getName());
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(options)) {
                List<String> names = IntStream.range(0, keys).mapToObj(n -> compression + "-ключ-" + n).toList();
                List<Future<RecordMetadata>> sent = IntStream.range(0, keys)
                    .mapToObj(n -> producer.send(new ProducerRecord<>(topic, names.get(n), json(names.get(n), n))))
                    .toList();
                for (int n = 0; n < keys; n++) {
                    System.out.println(names.get(n) + " " + sent.get(n).get().partition());
                }
            }
        }
    }

    static String json(String key, int n) {
        return "{\"key\":\"" + key + "\",\"n\":" + n + "}";
    }
}
