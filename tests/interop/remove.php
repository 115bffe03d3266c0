<?php
// PHP removes the queue of a key, under a Python that may be waiting on it.
// Asked: key.

$asked = json_decode($argv[1], true);
echo json_encode(['returned' => msg_remove_queue(msg_get_queue($asked['key']))]);
