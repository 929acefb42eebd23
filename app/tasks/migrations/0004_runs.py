import uuid

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0003_lock"),
    ]

    operations = [
        migrations.CreateModel(
            name="Run",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("example", models.CharField(max_length=100)),
                ("arguments", models.JSONField(default=dict)),
                ("results", models.JSONField(null=True)),
                ("value", models.JSONField(null=True)),
                ("error", models.TextField(default="")),
                ("created", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ("-created",),
            },
        ),
    ]
