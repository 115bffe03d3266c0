<?php
// PHP changes the size and the mode of the queue of a key, for Python to see.
// Asked: key, queue_bytes, mode.

$asked = json_decode($argv[1], true);
$queue = msg_get_queue($asked['key']);
$changes = ['msg_qbytes' => $asked['queue_bytes'], 'msg_perm.mode' => $asked['mode']];
echo json_encode(['returned' => msg_set_queue($queue, $changes)]);
