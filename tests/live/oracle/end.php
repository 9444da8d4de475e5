<?php
// What planfix-end.php tells: phone, ext, callid, link, duration, disposition.
require __DIR__ . '/request.php';

[, $phone, $ext, $callid, $link, $duration, $disposition] = $argv;
$statuses = [
    'ANSWERED' => 'Success',
    'ANSWER' => 'Success',
    'NO ANSWER' => 'Cancelled',
    'BUSY' => 'Missed',
    '' => 'Missed',
    '0' => 'Missed', // empty('0') holds.
];
if ($disposition === 'ANSWERED') {
    event('ACCEPTED', $phone, $ext, $callid);
}
event('COMPLETED', $phone, $ext, $callid, [
    'duration' => $duration,
    'is_recorded' => '1',
    'status' => $statuses[$disposition] ?? 'Cancelled',
    'record_link' => $link,
]);
