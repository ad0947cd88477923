package segue.peers;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;

/** A listening event as it lies in the topic; timestamp in ms UTC. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Event(
        @JsonProperty("user_id") String userId,
        @JsonProperty("item_id") String itemId,
        @JsonProperty("item_type") String itemType,
        @JsonProperty("kind") String kind,
        @JsonProperty("timestamp") long timestamp) {

    /** FNV-1a of type, NUL, id: the item's key in both stores. */
    long item() {
        long mixed = mix(0xCBF29CE484222325L, itemType);
        return mix(mixed * 0x100000001B3L, itemId);
    }

    private static long mix(long mixed, String ascii) {
        for (int at = 0; at < ascii.length(); at++) {
            mixed = (mixed ^ ascii.charAt(at)) * 0x100000001B3L;
        }
        return mixed;
    }
}
