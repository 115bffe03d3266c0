<?php
// PHP looks at the queue of a key, for Python to compare with its own look: prints msg_stat_queue.
// Asked: key.

$asked = json_decode($argv[1], true);
echo json_encode(msg_stat_queue(msg_get_queue($asked['key'])));
